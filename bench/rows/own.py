"""Figures 9, 12 and 13: a forest against flat sequences; with bit guarantees against without; two threads and one."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from functools import partial
from typing import Any

import numpy as np

from .. import flops
from ..compare import Contestant, check_equal, interleave
from ..models import config_of, random_tokens
from ..results import Result
from ..worker import SideError

PLANS, CHAINS = 4, 3
KEEP_ALL = 6000  # tokens whose activations fit into memory; above it both sides compute them again
TREES = ((120, 80, 200), (256, 256, 512), (512, 256, 512), (1500, 150, 400))


def tree(prompt: int, plan: int, chain: int) -> tuple[list[int], list[int]]:
    """Lengths and parents of a plan tree's segments, depth first."""
    lengths, parents = [prompt], [-1]
    for _ in range(PLANS):
        parents += [0, *[len(lengths)] * CHAINS]
        lengths += [plan, *[chain] * CHAINS]
    return lengths, parents


def forest_against_flat(context: Any, row: str, sizes: tuple[int, int, int], shape: str) -> list[Result]:
    """Forward and backward without the optimizer, which both share. The flat step takes the prompt's tokens as targets
    too, as the forest does, so that both have a head's work for each of their tokens but the first of a root."""
    if context.quick:
        sizes = tuple(size // 4 for size in sizes)
    lengths, parents = tree(*sizes)
    flat = [sum(sizes)] * (PLANS * CHAINS)
    config = config_of(shape)
    keep = "all" if sum(flat) <= KEEP_ALL else "inputs"  # the same for both
    work = {}
    sides = []
    for name, (part, above) in {"forest": (lengths, parents), "flat": (flat, [-1] * len(flat))}.items():
        roots = above.count(-1)
        work[name] = flops.train(config, sum(part), sum(part) - roots, flops.forest_pairs(part, above))
        tokens = random_tokens(shape, sum(part), seed=3).tolist()
        prepare = [("forest", {"tokens": tokens, "lengths": part, "parents": above})]
        sides.append(Contestant(name, "ours_train", {"folder": str(context.folder(shape)), "precision": "bfloat16"},
                                ("gradients", {"keep": keep}), prepare))  # fmt: skip
    found = interleave(sides, context.rounds, together=False, times=2)
    faster = found["flat"].seconds / found["forest"].seconds
    exact = work["flat"] / work["forest"]
    return [Result(row, 9, f"forest against flat, {sizes}", faster / exact, 0.95, "× faster", faster, peak=exact,
                   note="")]  # fmt: skip


def threads(context: Any, row: str) -> list[Result]:
    """A float32 train step on 4 x 256 tokens, two threads against one."""
    shape, count, length = "qwen2.5-0.5b", 4, 64 if context.quick else 256
    tokens = random_tokens(shape, count * length, seed=1).reshape(count, length).tolist()
    sides = [Contestant(str(number), "ours_train", {"folder": str(context.folder(shape)), "threads": number},
                        ("steps", {"count": 1}), [("batch", {"tokens": tokens})]) for number in (1, 2)]  # fmt: skip
    found = interleave(sides, context.rounds, together=False, times=2)
    speed = [1 / found[name].seconds for name in ("2", "1")]
    losses = [np.float64(found[name].timed[-1]["loss"]) for name in ("2", "1")]
    if losses[0] != losses[1]:
        return [Result(row, 13, "two threads against one", None, 1.9, note=f"losses differ: {losses}")]
    return [
        Result(row, 13, "two threads against one", speed[0] / speed[1], 1.9, "steps/s", *speed, "one thread")
    ]


def guarantees(context: Any, row: str) -> list[Result]:
    """A float32 train step on 4 x 256 tokens with our kernels against one with OpenBLAS, whose blocking depends on
    sizes. Below 0 ours is the faster one."""
    shape, count, length = "qwen2.5-0.5b", 4, 64 if context.quick else 256
    tokens = random_tokens(shape, count * length, seed=1).reshape(count, length).tolist()
    sides = [Contestant(name, "ours_train", {"folder": str(context.folder(shape))}, ("steps", {"count": 1}),
                        [("batch", {"tokens": tokens})], {"PTAGRPO_GEMM": gemm})
             for name, gemm in (("ours", "own"), ("OpenBLAS", "openblas"))]  # fmt: skip
    found = interleave(sides, context.rounds, together=False, times=2)
    check_equal("loss", *(runs.timed[0]["loss"] for runs in found.values()), 1e-4)
    used = found["OpenBLAS"].versions["kernels"]["float32"]
    if used != "openblas":
        return [Result(row, 12, "cost of the bit guarantees", None, 0.03, note=f"PTAGRPO_GEMM gave {used}")]
    speed = [1 / found[name].seconds for name in ("ours", "OpenBLAS")]
    return [Result(row, 12, "cost of the bit guarantees", speed[1] / speed[0] - 1, 0.03, "steps/s", *speed,
                   "the same step with OpenBLAS", at_most=True)]  # fmt: skip


def quickstart(context: Any, row: str) -> list[Result]:
    """Wall time of `ptagrpo quickstart`, once; of its smoke test with `--quick`."""
    with tempfile.TemporaryDirectory(prefix="ptagrpo-bench-") as folder:
        command = [
            sys.executable,
            "-m",
            "ptagrpo",
            "quickstart",
            "--no_progress",
            "--output_dir",
            f"{folder}/run",
        ]
        start = time.perf_counter()
        done = subprocess.run(command + ["--quick"] * context.quick, capture_output=True, text=True)
        seconds = time.perf_counter() - start
    if done.returncode:
        raise SideError(f"quickstart: status {done.returncode}\n{done.stderr}")
    return [Result(row, 14, "quickstart, wall time", seconds, None, "s", seconds)]


ROWS = {
    **{f"forest-{'-'.join(map(str, sizes))}": partial(forest_against_flat, row=f"forest-{'-'.join(map(str, sizes))}",
                                                      sizes=sizes, shape="qwen2.5-0.5b") for sizes in TREES},
    "bits": partial(guarantees, row="bits"),
    "quickstart": partial(quickstart, row="quickstart"),
    "threads": partial(threads, row="threads"),
}  # fmt: skip
LONG = ("quickstart",)
