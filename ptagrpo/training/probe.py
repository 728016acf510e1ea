"""How long a step of training may take on this machine, from a short probe: a model of a few of the layers and a part
of the vocabulary, with weights of zero, goes through sampling, forward, backward and AdamW. What the layers and tokens
that it lacks would add is told by two still smaller ones.

An estimate: of what comes before a token 2,048 tokens count in sampling, and 512 in training; a vision tower does not
count; other work of the machine is as it is at the moment.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from .. import _core
from ..environment import machine_memory
from .estimate import Keep, Setup, Tree, estimate, zero_forest

VOCABULARIES = 1024, 16384
LARGE = 1 << 26  # numbers in layers that caches do not hold, as they do not hold a whole model
PROBE_TOKENS = 512  # through forward and backward at most
PROBE_STEPS = 8  # of decoding
PROBE_CONTEXT = 2048  # tokens before them at most
REPEATS, ENOUGH = 5, 0.5  # runs of which the median counts, at most; seconds after which there are no more


class Seconds(NamedTuple):
    """Of a step: sampling, and forward, backward and AdamW."""

    rollout: float
    update: float


def step_seconds(setup: Setup, tree: Tree, keep: Keep) -> Seconds | None:
    """About how long a step on one question takes here; None: not even the probe fits into what is available.

    Args:
        keep: how much of the activations is kept, "all" or "inputs" (see `estimate`).
    """
    layers, vocabulary = setup.config.num_hidden_layers, setup.config.vocab_size
    few, many = (min(size, vocabulary) for size in VOCABULARIES)
    one = _cut(setup, 1, few)
    shapes = one.config.parameter_shapes()
    numbers = sum(math.prod(shape) for name, shape in shapes.items() if name.startswith("model.layers."))
    several = min(layers, max(2, math.ceil(LARGE / numbers)))
    short = Tree(tree.num_plans, tree.cots_per_plan, min(tree.max_prompt_length, 64), 32, 16)
    if estimate(_cut(setup, several, many), short).total > machine_memory()[1]:
        return None
    whole = _probe(_cut(setup, several, many), tree, keep)
    if layers > several or vocabulary > many:
        thin = _probe(_cut(setup, 1, many), tree, keep)
        whole = whole + (layers - several) / max(1, several - 1) * np.maximum(0.0, whole - thin)
        if vocabulary > many:
            each = np.maximum(0.0, thin - _probe(one, tree, keep)) / (many - few)
            whole = whole + (vocabulary - many) * each
    plan, chain, token, sweep = whole.tolist()
    prompt = token * tree.max_prompt_length / 3  # a forward pass alone
    lengths, _ = tree.segments()
    return Seconds(
        prompt + plan * tree.plan_length + chain * tree.chain_length, token * sum(lengths) + sweep
    )


def _cut(setup: Setup, layers: int, vocabulary: int) -> Setup:
    config = setup.config.replace(num_hidden_layers=layers, vocab_size=vocabulary, unrotated_layers=())
    return Setup(config, setup.method, setup.dtype, setup.lora)


def _probe(one: Setup, tree: Tree, keep: Keep) -> np.ndarray:
    """Seconds of: a step of decoding all plans, and all chains; forward and backward, for each token; AdamW."""
    text = {name: value for name, value in one.core_config.items() if name not in ("vision", "rope_sections")}
    model = _core.Model(text)
    if one.method != "full":
        model.add_adapter(
            one.lora.r, one.lora.scale, list(one.lora.target_modules or ()), one.lora.lora_dropout
        )
    half_way = tree.max_prompt_length + tree.plan_length // 2
    plan = _decode_seconds(model, tree.num_plans, half_way)
    half_way = tree.max_prompt_length + tree.plan_length + tree.chain_length // 2
    chain = _decode_seconds(model, tree.num_plans * tree.cots_per_plan, half_way)
    token = _token_seconds(model, *tree.segments(), keep)
    optimizer = _core.AdamW(model, 0.9, 0.999, 1e-8)
    return np.array([plan, chain, token, _timed(lambda: optimizer.step(0.0, 0.0, 0.0))])


def _decode_seconds(model: _core.Model, rows: int, context: int) -> float:
    """Of one step of so many rows, each behind so many tokens."""
    cache = _core.Cache(model)
    prompt = cache.prefill([np.zeros(min(context, PROBE_CONTEXT), np.int32)], np.array([-1], np.int64))
    parents, keys = np.repeat(prompt, rows), np.arange(rows, dtype=np.uint64)
    none = np.zeros(0, np.int32)

    def draw(count: int) -> None:
        cache.sample(
            parents, keys, np.full(rows, count, np.int32), temperature=1.0, top_k=0, top_p=1.0, min_p=0.0, eos=none,
            max_rows=min(rows, 512), keep=False,
        )  # fmt: skip

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
    return (
        _timed(lambda: _core.train_likelihood(model, forest, source, target, weights, keep=keep, dropout_key=0))
        / forest.num_tokens
    )


def _timed(work: Callable[[], object]) -> float:
    """Seconds of some work: the median of a few runs, after one that fills caches and makes buffers."""
    work()
    seconds: list[float] = []
    while len(seconds) < REPEATS and sum(seconds) < ENOUGH:
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)
