"""Figures 3, 4, 5 and 11: a train step against PyTorch, on the same weights and tokens; its peak memory."""

from __future__ import annotations

from functools import partial
from typing import Any

from .. import flops
from ..compare import Contestant, Runs, check_equal, fastest, interleave
from ..models import config_of, random_tokens
from ..results import Result

# Losses of the first step agree to this: float32 differs by the order of sums, bfloat16 by roundings of activations.
TOLERANCE = {"float32": 1e-4, "autocast": 5e-3, "bfloat16": 5e-3}


def compare(context: Any, shape: str, sequences: int, length: int, precision: str, peers: dict[str, dict],
            together: bool, warm_up: int = 1, calls: int = 1) -> dict[str, Runs]:  # fmt: skip
    """Ours ("ours") and torch's `peers` (options by name) on `sequences` x `length` tokens; losses checked."""
    folder = str(context.folder(shape))
    tokens = random_tokens(shape, sequences * length, seed=1).reshape(sequences, length).tolist()
    common = {"prepare": [("batch", {"tokens": tokens}), ("loss", {})], "warm_up": warm_up}
    timed = ("steps", {"count": calls})
    sides = [Contestant("ours", "ours_train", {"folder": folder, "precision": precision}, timed, **common)]
    sides += [Contestant(name, "torch_train", {"folder": folder, **options}, timed, **common)
              for name, options in peers.items()]  # fmt: skip
    found = interleave(sides, context.rounds, together, times=1 if together else 2)
    for name, options in peers.items():
        if not found[name].absent:
            tolerance = max(TOLERANCE[precision], TOLERANCE[options["precision"]])
            check_equal(
                f"{shape}: loss before training",
                found["ours"].prepared[1],
                found[name].prepared[1],
                tolerance,
            )
            check_equal(
                f"{shape}: loss of a step",
                found["ours"].warm[0]["loss"],
                found[name].warm[0]["loss"],
                tolerance,
            )
    return found


def operations(shape: str, sequences: int, length: int) -> int:
    """Of one train step on sequences in which every token but the first is a target."""
    pairs = flops.causal_pairs([length] * sequences)
    return flops.train(config_of(shape), sequences * length, sequences * (length - 1), pairs)


def ratio(
    row: str, figure: int, what: str, goal: float, work: int, found: dict[str, Runs], peers: list[str]
) -> Result:
    """Speed of ours over that of the fastest of `peers`, in GFLOP/s of the same count."""
    ours = 1e-9 * work / found["ours"].seconds
    best = fastest(found, peers)
    if best is None:
        note = f"peer absent ({found[peers[0]].absent})"
        return Result(row, figure, what, None, goal, "GFLOP/s", ours, note=note)
    peer = 1e-9 * work / found[best].seconds
    return Result(row, figure, what, ours / peer, goal, "GFLOP/s", ours, peer, f"PyTorch {best}")


def of_peak(
    row: str, figure: int, what: str, goal: float, work: int, ours: Runs, peak: float | None
) -> Result:
    """Share of the probed peak that ours reaches."""
    speed = 1e-9 * work / ours.seconds
    value = speed / peak if peak else None
    return Result(
        row,
        figure,
        what,
        value,
        goal,
        "GFLOP/s",
        speed,
        peak=peak,
        note="" if peak else "no probe of the peak",
    )


def large(context: Any, row: str, sequences: int, length: int, precision: str) -> list[Result]:
    """The Qwen2.5-0.5B shape. Each side alone in memory: two of them do not fit into 24 GiB."""
    if context.quick:
        sequences, length = 1, 128
    shape = "qwen2.5-0.5b"
    kinds = ["float32"] if precision == "float32" else ["autocast", "bfloat16"]
    peers = {f"{kind}, {'compiled' if compiled else 'eager'}": {"precision": kind, "compiled": compiled}
             for kind in kinds for compiled in (False, True)}  # fmt: skip
    context.probes.measure()
    found = compare(context, shape, sequences, length, precision, peers, together=False)
    peak = context.probes.measure().get(precision)
    work = operations(shape, sequences, length)
    what = f"train step, {precision}, {sequences} × {length}"
    if precision == "float32":
        results = [of_peak(row, 3, f"{what}: share of peak", 0.80, work, found["ours"], peak),
                   ratio(row, 3, what, 1.3, work, found, list(peers))]  # fmt: skip
    else:
        results = [of_peak(row, 4, f"{what}: share of peak", 0.68, work, found["ours"], peak),
                   ratio(row, 4, f"{what}, against autocast", 1.5, work, found, ["autocast, eager"]),
                   ratio(row, 4, what, 1.35, work, found, list(peers))]  # fmt: skip
    if (sequences, length) == (4, 256):
        results.append(memory(row, found, f"{kinds[0]}, eager", what))
    return results


def memory(row: str, found: dict[str, Runs], peer: str, what: str) -> Result:
    """Peak resident memory of the process over the run, less what it held after its imports."""
    if found[peer].absent:
        return Result(row, 11, f"peak memory, {what}", None, 0.35, "GB", note=f"peer absent ({found[peer].absent})",
                      at_most=True)  # fmt: skip
    sizes = [
        1e-9 * (runs.peak_bytes - runs.versions["imported_bytes"]) for runs in (found["ours"], found[peer])
    ]
    return Result(
        row,
        11,
        f"peak memory, {what}",
        sizes[0] / sizes[1],
        0.35,
        "GB",
        *sizes,
        f"PyTorch {peer}",
        at_most=True,
    )


def small(context: Any, row: str, shape: str, sequences: int, length: int, goal: float) -> list[Result]:
    """A small model, a hundred steps a repetition, all sides in memory."""
    peers = {"eager": {"precision": "float32"}, "eager, one thread": {"precision": "float32", "threads": 1},
             "compiled": {"precision": "float32", "compiled": True}}  # fmt: skip
    calls = 10 if context.quick else 100
    found = compare(
        context, shape, sequences, length, "float32", peers, together=True, warm_up=2, calls=calls
    )
    work = operations(shape, sequences, length)
    what = f"train step, {shape}, {sequences} × {length}"
    reported = ratio(row, 5, f"{what}, against compile", 0.0, work, found, ["compiled"])
    return [ratio(row, 5, what, goal, work, found, ["eager", "eager, one thread"]),
            Result(**{**vars(reported), "goal": None})]  # fmt: skip


ROWS = {
    "train-fp32": partial(large, row="train-fp32", sequences=4, length=256, precision="float32"),
    "train-fp32-2048": partial(large, row="train-fp32-2048", sequences=1, length=2048, precision="float32"),
    "train-bf16": partial(large, row="train-bf16", sequences=4, length=256, precision="bfloat16"),
    "train-bf16-2048": partial(large, row="train-bf16-2048", sequences=1, length=2048, precision="bfloat16"),
    "train-4x128": partial(small, row="train-4x128", shape="4x128", sequences=12, length=96, goal=2.2),
    "train-2x64": partial(small, row="train-2x64", shape="2x64", sequences=4, length=64, goal=3.0),
}
