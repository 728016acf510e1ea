"""What fits: how many tokens go through forward and backward at once, and how much of their activations is kept.

The budget is fixed when the trainer is made. Activations are kept in full where they fit; else only the layers'
inputs, and the rest is computed again in backward, to the same bits. The number of tokens of a micro-batch moves the
last bits of some sums (norm, bias and embedding gradients; all gradients in bfloat16), so it is stored in checkpoints.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from .. import _core
from ..environment import gib, machine_memory, parse_memory, resident_memory
from ..errors import ConfigError
from ..packing import Batch
from .estimate import zero_forest

MOST_TOKENS, LEAST_TOKENS = 16384, 1024
PROBE_TOKENS = 1024


class MemoryPlan:
    """Memory of the activations of a trainer.

    Args:
        model: its model; the optimizer's moments exist already.
        args: options max_memory, max_tokens_per_micro_batch, gradient_checkpointing.

    Attributes:
        budget: bytes for activations and scratch. micro_batch_tokens: tokens of a micro-batch at most.
    """

    def __init__(self, model: _core.Model, args: Any):
        self._model, self._args = model, args
        total, available = machine_memory()
        sizes = model.memory()
        if args.max_memory is None:
            free = int(0.8 * (available + sizes["scratch"]))
        else:
            free = parse_memory(args.max_memory, total) - resident_memory() + sizes["scratch"]
        self._missing = sizes["to_allocate"]
        self.budget = free - self._missing
        self.micro_batch_tokens = args.max_tokens_per_micro_batch or self._fitting_tokens()

    def reserve(self, size: int) -> None:
        """Leave so many bytes to something else: sampling, whose memory comes beside that of the activations, which a
        model keeps.
        """
        self.budget -= size
        self.micro_batch_tokens = self._args.max_tokens_per_micro_batch or self._fitting_tokens()

    def restore(self, tokens: int | None) -> None:
        """Cut micro-batches as the run of a checkpoint did, unless an option says otherwise."""
        if tokens and self._args.max_tokens_per_micro_batch is None:
            self.micro_batch_tokens = tokens

    def keep(self, batch: Batch) -> Literal["all", "inputs"]:
        """How much of a batch's activations to keep: "all" or "inputs".

        Raises:
            ConfigError: not even the inputs fit into the budget; says how much is needed.
        """
        chosen, targets = self._args.gradient_checkpointing, len(batch.target)
        kinds: dict[bool | None, tuple[Literal["all", "inputs"], ...]]
        kinds = {None: ("all", "inputs"), True: ("inputs",), False: ("all",)}
        grids = np.array([picture.grid for picture in batch.pictures], np.int32).reshape(-1, 2)
        seeing = self._model.see_bytes(grids, self._model.tower_trained) if len(grids) else 0
        for mode in kinds[chosen]:
            needed = _core.train_bytes(self._model, batch.forest, targets, mode) + seeing
            if needed <= self.budget:
                return mode
        raise ConfigError(
            f"a micro-batch of {batch.num_tokens} tokens needs {gib(needed)} for activations"
            f"{' even with gradient_checkpointing' if mode == 'inputs' else ''}"
            f"{f' ({gib(seeing)} of them for its images)' if seeing else ''}, but {gib(max(0, self.budget))} are "
            f"left of max_memory ({self._args.max_memory or '80 % of what was free'}) beside weights, gradients, "
            "moments and sampling. Give more memory (max_memory), smaller micro-batches (max_tokens_per_micro_batch), "
            "shorter or fewer responses to a question, or gradient_checkpointing=True"
        )

    def _fitting_tokens(self) -> int:
        forest = zero_forest([PROBE_TOKENS], [-1])
        mode = "inputs" if self._args.gradient_checkpointing else "all"
        fixed = _core.train_bytes(self._model, forest, 1, mode)
        each = _core.train_bytes(self._model, forest, PROBE_TOKENS, mode) / PROBE_TOKENS
        fits = int((self.budget - (fixed - each * PROBE_TOKENS if fixed > each * PROBE_TOKENS else 0)) / each)
        return min(MOST_TOKENS, max(LEAST_TOKENS, fits // 1024 * 1024))
