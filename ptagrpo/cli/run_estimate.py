"""`ptagrpo estimate-memory`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import typer

from ..checkpoint import resolve_folder
from ..environment import machine_memory, parse_memory, resident_memory
from ..lora import LoraConfig
from ..models import ModelConfig
from ..models.config import check_dtype
from ..training.estimate import METHODS, Setup, Tree, estimate, largest_group, longest_response
from ..training.probe import step_seconds

GIB = 1024**3


def run(
    model: str, method: str, memory: str | None, dtype: str, lora_r: int, lora_target_modules: str, beta: float,
    probe: bool, as_json: bool, **tree: Any,
) -> None:  # fmt: skip
    """Print a table of the methods, or JSON."""
    config, shape = read_config(model), Tree(**tree)
    targets = lora_target_modules if lora_target_modules == "all-linear" else lora_target_modules.split(",")
    lora = LoraConfig(r=lora_r, target_modules=targets)
    total, available = machine_memory()
    limit = available if memory is None else parse_memory(memory, total, "--memory")
    held = resident_memory()  # by Python and its libraries, which training has too
    names = list(METHODS) if method == "all" else method.split(",")
    found = {
        name: describe(Setup(config, name, check_dtype(dtype), lora, beta), shape, limit, held, probe)
        for name in names
    }
    if as_json:
        typer.echo(
            json.dumps({"memory": limit, "parameters": config.num_parameters, "methods": found}, indent=2)
        )
        return
    source = "available on this machine now" if memory is None else "given"
    typer.echo(
        f"{model}: {config.num_parameters / 1e9:.2f} billion parameters in {config.num_hidden_layers} layers, {dtype}; "
        f"memory {source}: {limit / GIB:.2f} GiB"
    )
    typer.echo(
        f"A question at a time: {shape.num_plans} plans x {shape.cots_per_plan} chains; at most "
        f"{shape.max_prompt_length} tokens of prompt, {shape.plan_length} of a plan, {shape.max_completion_length} of "
        "a response\n"
    )
    for line in table(found, shape):
        typer.echo(line)


def read_config(model: str) -> ModelConfig:
    """The configuration of a folder, a file or a repository of the hub.

    Raises:
        CheckpointError: there is none, or it describes a model that cannot be built.
    """
    path = Path(model).expanduser()
    if path.is_file():
        return ModelConfig.from_file(path)
    return ModelConfig.from_file(resolve_folder(model, patterns=("config.json",)) / "config.json")


def describe(setup: Setup, tree: Tree, limit: int, held: int, probe: bool) -> dict[str, Any]:
    """What one method takes beside the `held` bytes of Python: bytes by use, in all, and what fits; seconds of a step,
    None where it does not fit.
    """
    left = limit - held
    found = estimate(setup, tree, left)
    fits = found.total <= left
    seconds = step_seconds(setup, tree, found.keep) if fits and probe else None
    return {
        "bytes": {**found.parts, "Python": held},
        "total": found.total + held,
        "fits": fits,
        "activations": found.keep,
        "largest_num_plans": largest_group(setup, tree, left),
        "longest_completion": longest_response(setup, tree, left),
        "seconds": None if seconds is None else {"rollout": seconds.rollout, "update": seconds.update},
    }


def table(found: dict[str, dict[str, Any]], tree: Tree) -> list[str]:
    """Lines of text, a column a method."""
    rows: list[tuple[str, list[str]]] = [("GiB", list(found))]
    for use in next(iter(found.values()))["bytes"]:
        sizes = [method["bytes"][use] for method in found.values()]
        if any(sizes):
            rows.append((use, [f"{size / GIB:.2f}" if size else "-" for size in sizes]))
    rows.append(("in all", [f"{method['total'] / GIB:.2f}" for method in found.values()]))
    rows.append(("", []))
    rows.append(("fits", ["yes" if method["fits"] else "no" for method in found.values()]))
    rows.append(("activations kept", [method["activations"] for method in found.values()]))
    z = tree.cots_per_plan
    groups = [method["largest_num_plans"] for method in found.values()]
    rows.append(("largest group", [f"{plans} x {z}" if plans else "-" for plans in groups]))
    lengths = [method["longest_completion"] for method in found.values()]
    rows.append(("longest response", [f"{length:,}" if length else "-" for length in lengths]))
    seconds = [method["seconds"] for method in found.values()]
    if any(seconds):
        for phase in ("rollout", "update"):
            rows.append(
                (f"{phase}, about *", [_duration(taken[phase]) if taken else "-" for taken in seconds])
            )
    widths = [max(len(row[0]) for row in rows)]
    widths += [max(len(row[1][i]) for row in rows if row[1]) for i in range(len(found))]
    lines = [
        "  ".join([name.ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(cells, widths[1:], strict=bool(cells)))])
        for name, cells in rows
    ]  # fmt: skip
    if any(seconds):
        lines += ["", "* an estimate: one layer was timed on this machine as it is now"]
    return [line.rstrip() for line in lines]


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
