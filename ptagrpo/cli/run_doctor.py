"""`ptagrpo doctor`: what machine, kernels, threads, memory and versions are in use, and what to change."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import typer

from .. import environment
from ..environment import machine_memory

GIB = 1024**3
READERS = {
    "pyarrow": "parquet files", "datasets": "data sets of the hub", "openai": "ptagrpo distill --teacher",
    "Pillow": "benchmarks with images",
}  # fmt: skip


def run(as_json: bool = False) -> None:
    """Print the facts and the advice."""
    found = collect()
    if as_json:
        typer.echo(json.dumps({**found, "advice": advice(found)}, indent=2, default=str))
        return
    for line in report(found):
        typer.echo(line)
    changes = advice(found)
    typer.echo("\nWhat to change" if changes else "\nNothing to change.")
    for change in changes:
        typer.echo(f"  - {change}")


def collect() -> dict[str, Any]:
    """`environment.facts()` with memory (bytes) and huge pages."""
    total, available = machine_memory()
    return {
        **environment.facts(),
        "memory": {"total": total, "available": available},
        "huge_pages": environment.huge_pages(),
    }


def report(found: Mapping[str, Any]) -> list[str]:
    """The facts as lines of text."""
    build, machine, threads, memory = (found[key] for key in ("build", "machine", "threads", "memory"))
    limits = f"{threads['allowed']} of {threads['present']} processors allowed"
    if threads["quota"] is not None:
        limits += f", control group: {threads['quota']:g} processors"
    variables = "".join(f", {name}={value}" for name, value in threads["variables"].items())
    packages = ", ".join(f"{name} {version}" for name, version in found["packages"].items())
    kernels = ", ".join(f"{dtype}: {name}" for dtype, name in build["kernels"].items())
    return [
        f"ptagrpo     {build['version']}, Python {found['python']}, {build['compiler']}"
        + (f", sanitizers: {build['sanitize']}" if build["sanitize"] else ""),
        f"machine     {machine['processor']} ({machine['architecture']}), {machine['system']}",
        f"            instruction sets: {', '.join(machine['instructions']) or 'none of those that kernels use'}",
        f"kernels     {kernels}; other loops: {build['simd']}",
        f"BLAS        {build['blas'] or 'none: products are computed by own kernels'}",
        f"threads     {threads['used']} used, {limits}{variables}",
        f"memory      {memory['available'] / GIB:.1f} GiB available of {memory['total'] / GIB:.1f} GiB",
        f"huge pages  {found['huge_pages'] or 'not known'}",
        f"packages    {packages}",
    ]


def advice(found: Mapping[str, Any]) -> list[str]:
    """What to change, one sentence each; empty where all is well."""
    build, machine, threads = found["build"], found["machine"], found["threads"]
    changes = []
    useful = threads["allowed"]
    if threads["quota"] is not None:
        useful = min(useful, max(1, int(threads["quota"])))
    if threads["used"] > useful:
        changes.append(
            f"{threads['used']} threads share {useful} processors and wait for each other: set OMP_NUM_THREADS={useful}"
        )
    elif threads["used"] < useful:
        changes.append(
            f"Only {threads['used']} of {useful} processors are used: set OMP_NUM_THREADS={useful}, or call "
            f"ptagrpo.set_num_threads({useful})"
        )
    kernel = build["kernels"]["float32"]
    for level, needs in (("avx512", "avx512f"), ("avx2", "avx2")):
        if needs in machine["instructions"]:
            if kernel == "portable":
                changes.append(
                    f"The processor has {needs}, but products run in portable C: unset PTAGRPO_SIMD and PTAGRPO_GEMM, "
                    f"or install again with a compiler that knows {level}"
                )
            break
    if build["kernels"]["bfloat16"].startswith("amx"):
        changes.append(
            f"The processor multiplies bfloat16 itself ({build['kernels']['bfloat16']}): bf16=True trains faster "
            "where its precision is enough"
        )
    if build["sanitize"]:
        changes.append(
            "The core was built with sanitizers, which make it slow: install again without PTAGRPO_SANITIZE"
        )
    if found["memory"]["available"] < 2 * GIB:
        changes.append(
            "Less than 2 GiB of memory are available: end other programs, or use a smaller model, max_memory and "
            "max_tokens_per_micro_batch"
        )
    if found["huge_pages"] == "never":
        changes.append(
            "The system gives no huge pages; packed weights are read faster from them: as root, echo madvise > "
            "/sys/kernel/mm/transparent_hugepage/enabled"
        )
    missing = [f"{name} ({use})" for name, use in READERS.items() if name not in found["packages"]]
    if missing:
        changes.append(f"Not installed, and needed only for what stands beside it: {', '.join(missing)}")
    return changes
