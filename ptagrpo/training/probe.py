"""How long a step of training may take on this machine, from a short probe: one layer of the model, with weights of
zero, through sampling, forward, backward and AdamW. An estimate: the head is charged by its size, long sequences as
short ones, and other work of the machine is as it is at the moment.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from .. import _core
from ..environment import machine_memory
from .estimate import Keep, Setup, Tree, estimate, zero_forest

PROBE_VOCABULARY = 1024
PROBE_TOKENS = 512  # through forward and backward at most
PROBE_STEPS = 4  # of decoding


class Seconds(NamedTuple):
    """Of a step: sampling, and forward, backward and AdamW."""

    rollout: float
    update: float


def step_seconds(setup: Setup, tree: Tree, keep: Keep) -> Seconds | None:
    """About how long a step on one question takes here; None: not even the probe fits into what is available.

    Args:
        keep: how much of the activations is kept, "all" or "inputs" (see `estimate`).
    """
    config = setup.config
    one = Setup(
        config.replace(num_hidden_layers=1, vocab_size=PROBE_VOCABULARY),
        setup.method,
        setup.dtype,
        setup.lora,
    )
    short = Tree(tree.num_plans, tree.cots_per_plan, min(tree.max_prompt_length, 64), 32, 16)
    if estimate(one, short).total > machine_memory()[1]:
        return None
    shapes = one.config.parameter_shapes()
    layer = sum(math.prod(shape) for name, shape in shapes.items() if name.startswith("model.layers."))
    head = config.vocab_size * config.hidden_size / layer  # as so many more layers
    layers = config.num_hidden_layers + head
    text = {name: value for name, value in one.core_config.items() if name not in ("vision", "rope_sections")}
    model = _core.Model(text)
    if setup.method != "full":
        model.add_adapter(
            setup.lora.r, setup.lora.scale, list(setup.lora.target_modules or ()), setup.lora.lora_dropout
        )
    plans = _decode_seconds(model, tree.num_plans)
    chains = _decode_seconds(model, tree.num_plans * tree.cots_per_plan)
    lengths, parents = tree.segments()
    tokens = sum(lengths)
    each = _token_seconds(model, lengths, parents, keep)
    prompt = each * tree.max_prompt_length / 3  # a forward pass alone
    rollout = layers * (prompt + plans * tree.plan_length + chains * tree.chain_length)
    optimizer = _core.AdamW(model, 0.9, 0.999, 1e-8)
    sweep = _timed(lambda: optimizer.step(0.0, 0.0, 0.0))
    return Seconds(rollout, layers * (each * tokens + sweep))


def _decode_seconds(model: _core.Model, rows: int) -> float:
    """Of one step of so many rows."""
    cache = _core.Cache(model)
    prompt = cache.prefill([np.zeros(1, np.int32)], np.array([-1], np.int64))
    parents, keys = np.repeat(prompt, rows), np.arange(rows, dtype=np.uint64)
    none = np.zeros(0, np.int32)

    def draw(count: int) -> None:
        cache.sample(
            parents, keys, np.full(rows, count, np.int32), temperature=1.0, top_k=0, top_p=1.0, min_p=0.0, eos=none,
            max_rows=min(rows, 512), keep=False,
        )  # fmt: skip

    draw(2)
    first = _timed(lambda: draw(1))  # from the prompt's state, without a step
    return max(0.0, _timed(lambda: draw(1 + PROBE_STEPS)) - first) / PROBE_STEPS


def _token_seconds(model: _core.Model, lengths: list[int], parents: list[int], keep: Keep) -> float:
    """Of forward and backward, for each token of such a forest; one that is too long is cut in all its segments."""
    share = min(1.0, PROBE_TOKENS / sum(lengths))
    cut = [max(1, int(length * share)) for length in lengths]
    forest = zero_forest(cut, parents)
    source = np.arange(forest.num_tokens, dtype=np.int32)
    weights = np.ones(forest.num_tokens, np.float32)
    target = np.zeros(forest.num_tokens, np.int32)

    def train() -> None:
        _core.train_likelihood(model, forest, source, target, weights, keep=keep, dropout_key=0)

    train()
    return _timed(train) / forest.num_tokens


def _timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
