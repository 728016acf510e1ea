"""PyTorch with the transformers model: SDPA attention, torch's fused AdamW.

precision: "float32"; "autocast" (float32 weights, bfloat16 autocast); "bfloat16" (weights and moments in bfloat16).
"""

from __future__ import annotations

import contextlib
import os
import time
from typing import Any

import torch
import transformers

from bench.compare import peak_bytes

IMPORTED_BYTES = peak_bytes(os.getpid())


class Side:
    """A model and its optimizer. `compiled`: through torch.compile; `threads`: 0 leaves torch's default."""

    def __init__(
        self,
        folder: str,
        precision: str,
        compiled: bool = False,
        threads: int = 0,
    ):
        if threads:
            torch.set_num_threads(threads)
        dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
        self._autocast = precision == "autocast"
        self._model = transformers.AutoModelForCausalLM.from_pretrained(
            folder, dtype=dtype, attn_implementation="sdpa"
        )
        self._model.train()
        self._loss = torch.compile(self._mean_loss, dynamic=False) if compiled else self._mean_loss
        self._optimizer: Any = None

    def batch(self, tokens: list[list[int]]) -> None:
        """Sequences of equal length, int[B][T]; each token but the first of a sequence is a target."""
        self._tokens = torch.tensor(tokens)

    def loss(self) -> float:
        """Mean negative log-probability of the targets, without gradients."""
        with torch.no_grad(), self._precision():
            return float(self._mean_loss())

    def step(self) -> dict[str, float]:
        """One train step: forward, backward, AdamW without clipping. Returns seconds and the loss before the update."""
        if self._optimizer is None:
            parameters = self._model.parameters()
            self._optimizer = torch.optim.AdamW(parameters, lr=1e-6, weight_decay=0.01, fused=True)
        start = time.perf_counter()
        with self._precision():
            loss = self._loss()
        loss.backward()
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        return {"loss": float(loss), "seconds": time.perf_counter() - start}

    def steps(self, count: int) -> dict[str, float]:
        """`count` steps: their mean seconds, and the loss before the first."""
        runs = [self.step() for _ in range(count)]
        return {"loss": runs[0]["loss"], "seconds": sum(run["seconds"] for run in runs) / count}

    def versions(self) -> dict[str, Any]:
        return {
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "threads": torch.get_num_threads(),
            "imported_bytes": IMPORTED_BYTES,
        }

    def _mean_loss(self) -> torch.Tensor:
        return self._model(input_ids=self._tokens, labels=self._tokens, use_cache=False).loss

    def _precision(self) -> contextlib.AbstractContextManager:
        return torch.autocast("cpu", dtype=torch.bfloat16) if self._autocast else contextlib.nullcontext()
