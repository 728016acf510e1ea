"""Figures 1, 2 and 6: the matrix products of a train step and attention, alone, against the peak and OpenBLAS."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from .. import flops
from ..compare import Contestant, Runs, interleave
from ..models import config_of
from ..results import Result

SHAPE = "qwen2.5-0.5b"
TOKENS = 1024
KINDS = ("forward", "dinput", "dweight")
LENGTHS = (768, 2048, 3072)


def openblas_cores() -> list[str]:
    """Kernels of OpenBLAS worth a try beside those it chooses: a CPU that it does not know gets old ones."""
    try:
        flags = Path("/proc/cpuinfo").read_text().split()
    except OSError:
        return []
    return ["SkylakeX"] if "avx512vl" in flags and "avx512dq" in flags else []


OPENBLAS_CORES = openblas_cores()


def products_of_a_step() -> list[tuple[str, int, int, int]]:
    """Name, outputs, inputs and number of the products that a step on TOKENS tokens has, in each of KINDS."""
    c = config_of(SHAPE)
    queries = c.num_attention_heads * c.head_dim
    layers = c.num_hidden_layers
    return [
        ("qkv", queries + 2 * c.num_key_value_heads * c.head_dim, c.hidden_size, layers),
        ("o", c.hidden_size, queries, layers),
        ("gate_up", 2 * c.intermediate_size, c.hidden_size, layers),
        ("down", c.hidden_size, c.intermediate_size, layers),
        ("head", c.vocab_size, c.hidden_size, 1),
    ]


def medians(runs: Runs) -> list[float]:
    """Median over the rounds, shape by shape."""
    return [median(seconds) for seconds in zip(*(run["seconds"] for run in runs.timed), strict=True)]


def sumprod(values: list[float], counts: list[int]) -> float:
    return sum(value * count for value, count in zip(values, counts, strict=True))


def products(context: Any, row: str, dtype: str, figure: int, least: float) -> list[Result]:
    """All products of a step, weighted as often as it has them; the note tells the slowest one. Weights of "forward"
    are packed before, once a step as in training; everything else that a product converts is in its time."""
    shapes = products_of_a_step()
    if context.quick:
        shapes = shapes[:2]
    sizes = [(TOKENS, outputs, inputs) for _, outputs, inputs, _ in shapes]
    repeats = [max(1, 10**8 // (outputs * inputs) // 3) for _, outputs, inputs, _ in shapes]
    context.probes.measure()
    sides: dict[str, tuple[str, dict[str, str]]] = {"ours": ("", {})}
    if dtype == "float32":
        sides |= {"OpenBLAS": ("openblas", {})} | {
            f"OpenBLAS as {core}": ("openblas", {"OPENBLAS_CORETYPE": core}) for core in OPENBLAS_CORES
        }
    results = []
    for kind in KINDS:
        timed = ("products", {"kind": kind, "dtype": dtype, "sizes": sizes, "repeats": repeats})
        found = interleave(
            [
                Contestant(name, "ours_kernels", {"gemm": gemm}, timed, environment=environment)
                for name, (gemm, environment) in sides.items()
            ],
            context.rounds,
        )
        seconds = {name: medians(runs) for name, runs in found.items()}
        peak = context.probes.measure().get(dtype)
        work = [2e-9 * TOKENS * outputs * inputs for _, outputs, inputs, _ in shapes]
        counts = [count for *_, count in shapes]
        speed = {name: sumprod(work, counts) / sumprod(times, counts) for name, times in seconds.items()}
        single = {name: w / t for (name, *_), w, t in zip(shapes, work, seconds["ours"], strict=True)}
        slowest = min(single, key=single.__getitem__)
        what = f"{dtype} products, {kind}"
        note = f"slowest: {slowest}, {single[slowest]:.0f} GFLOP/s" if peak else "no probe of the peak"
        results.append(Result(row, figure, f"{what}: share of peak", speed["ours"] / peak if peak else None, least,
                              "GFLOP/s", speed["ours"], peak=peak, note=note))  # fmt: skip
        peers = {name: value for name, value in speed.items() if name != "ours"}
        if peers:
            best = max(peers, key=peers.__getitem__)
            results.append(Result(row, figure, what, speed["ours"] / peers[best], 1.05, "GFLOP/s", speed["ours"],
                                  peers[best], best))  # fmt: skip
    return results


def attention(context: Any, row: str, dtype: str) -> list[Result]:
    """One causal sequence of each of LENGTHS. Backward counts as twice forward's work, although it computes the scores
    again."""
    c = config_of(SHAPE)
    heads = (c.num_attention_heads, c.num_key_value_heads, c.head_dim)
    lengths = LENGTHS[:1] if context.quick else LENGTHS
    context.probes.measure()
    results = []
    for direction, factor, least in (("forward", 1, 0.75), ("backward", 2, 0.65)):
        arguments = {"direction": direction, "dtype": dtype, "heads": heads, "lengths": lengths}
        found = interleave([Contestant("ours", "ours_kernels", {}, ("attention", arguments))], context.rounds)
        peak = context.probes.measure().get(dtype)
        for length, seconds in zip(lengths, medians(found["ours"]), strict=True):
            work = factor * 4 * heads[0] * heads[2] * flops.causal_pairs([length])
            speed = 1e-9 * work / seconds
            results.append(Result(row, 6, f"attention {direction}, {dtype}, T = {length}: share of peak",
                                  speed / peak if peak else None, least, "GFLOP/s", speed, peak=peak,
                                  note="" if peak else "no probe of the peak"))  # fmt: skip
    return results


ROWS = {
    "products-fp32": partial(products, row="products-fp32", dtype="float32", figure=1, least=0.90),
    "products-bf16": partial(products, row="products-bf16", dtype="bfloat16", figure=2, least=0.88),
    "attention-fp32": partial(attention, row="attention-fp32", dtype="float32"),
    "attention-bf16": partial(attention, row="attention-bf16", dtype="bfloat16"),
}
