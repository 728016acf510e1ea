"""Figures 7 and 8: decoding chains on a shared prompt, bfloat16, against llama.cpp and against the roofline."""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from statistics import median
from typing import Any

import numpy as np

from .. import flops
from ..compare import Contestant, UnequalWork, fastest, interleave
from ..models import config_of, random_tokens
from ..results import Result

SHAPE = "qwen2.5-0.5b"
PROMPT = 256
NEW_TOKENS = {1: 64, 4: 64, 12: 64, 48: 32}
TOLERANCE = 0.05  # log-probabilities after the prompt: bfloat16 roundings of 24 layers


def roofline(chains: int, new_tokens: int, probes: dict[str, float]) -> float | None:
    """Tokens a second at most: the slower of reading all weights once a step and of computing, at the probed peaks.

    Bytes: the weights in bfloat16, and the keys and values of prompt and chains (bfloat16), the prompt's read once.
    """
    if not probes:
        return None
    config = config_of(SHAPE)
    length = PROMPT + new_tokens / 2
    kv = 2 * 2 * config.num_hidden_layers * config.num_key_value_heads * config.head_dim
    weights = flops.layer_weights(config) + flops.head_weights(config)
    read = 2 * weights + kv * (PROMPT + chains * new_tokens / 2)
    work = flops.forward(config, chains, chains, int(chains * length))
    seconds = max(1e-9 * read / probes["bandwidth"], 1e-9 * work / probes["bfloat16"])
    return chains / seconds


def decode(context: Any, row: str, chains: int, figure: int, goal: float) -> list[Result]:
    """Tokens a second of all chains together, the prompt's prefill not counted; llama.cpp with and without its flash
    attention, the faster counts. The share of the roofline is the median of the rounds', each at the better of the
    probes just before and just after it: what memory gives changes within seconds on a shared machine."""
    new_tokens = 16 if context.quick else NEW_TOKENS[chains]
    folder = str(context.folder(SHAPE))
    prompt = random_tokens(SHAPE, PROMPT, seed=2).tolist()
    timed = ("decode", {"prompt": prompt, "chains": chains, "new_tokens": new_tokens})
    prepare = [("logprobs", {"prompt": prompt})]
    size = -(-(PROMPT + chains * new_tokens) // 256) * 256
    names = {"llama.cpp": 0, "llama.cpp, flash attention": 1}
    sides = [Contestant("ours", "ours_decode", {"folder": folder}, timed, prepare)]
    sides += [Contestant(name, "llama_cpp_decode", {"folder": folder, "chains": chains, "context": size,
                                                    "flash_attention": flash}, timed, prepare)
              for name, flash in names.items()]  # fmt: skip
    probed: list[tuple[str, dict[str, float]]] = []
    found = interleave(sides, context.rounds, before=lambda name: probed.append((name, context.probes.now())))
    probed.append(("", context.probes.now()))
    count = chains * new_tokens
    for name, runs in found.items():
        if runs.absent:
            continue
        apart = np.abs(np.array(runs.prepared[0]) - np.array(found["ours"].prepared[0])).max()
        if apart > TOLERANCE or any(run["tokens"] != count for run in runs.timed):
            raise UnequalWork(f"{name}: log-probabilities differ by {apart:.3g} (at most {TOLERANCE}), "
                              f"tokens {[run['tokens'] for run in runs.timed]} (each {count})")  # fmt: skip
    what = f"decode, {chains} chain{'s' * (chains > 1)}"
    ours = count / found["ours"].seconds
    best = fastest(found, list(names))
    if best is None:
        note = f"peer absent ({found['llama.cpp'].absent})"
        against = Result(row, figure, what, None, goal, "tokens/s", ours, note=note)
    else:
        peer = count / found[best].seconds
        against = Result(row, figure, what, ours / peer, goal, "tokens/s", ours, peer, best)
    around = [{kind: max(value, after[kind]) for kind, value in probes.items()}
              for (name, probes), (_, after) in pairwise(probed) if name == "ours"]  # fmt: skip
    limits = [limit for limit in (roofline(chains, new_tokens, probes) for probes in around) if limit]
    limit, note = (median(limits), "") if limits else (None, "no probe of peak and bandwidth")
    speeds = [count / run["seconds"] for run in found["ours"].timed]
    value = median(speed / top for speed, top in zip(speeds, limits, strict=True)) if limits else None
    least = 0.85 if chains == 12 else None
    share = Result(
        row, 7, f"{what}: share of roofline", value, least, "tokens/s", ours, peak=limit, note=note
    )
    return [against, share]


ROWS = {
    f"decode-{chains}": partial(decode, row=f"decode-{chains}", chains=chains, figure=figure, goal=goal)
    for chains, figure, goal in ((1, 8, 1.05), (4, 8, 1.8), (12, 7, 2.5), (48, 8, 1.9))
}
