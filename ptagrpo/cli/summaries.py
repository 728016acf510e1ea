"""What the list of commands says of each: whole at 80 columns, where the first sentence of the help would be cut."""

from __future__ import annotations

from typing import Any

SUMMARIES = {
    "quickstart": "both stages on the built-in task, in minutes",
    "distill": "stage 1, data: plans for solutions that you have",
    "contamination": "do training questions occur in the benchmarks?",
    "sft": "stage 1, cold start: supervised fine-tuning",
    "train": "stage 2: reinforcement learning",
    "eval": "accuracy on benchmarks, or of responses made elsewhere",
    "benchmarks": "the benchmarks, and whether their data is at hand",
    "compare": "methods against each other, with tests",
    "sweep": "one option at a time over several values",
    "ablate": "the method without SFT, r_format, r_analytic",
    "estimate-memory": "what training a model takes, and what fits",
    "doctor": "machine, kernels, threads, memory, versions",
    "generate": "sample responses",
    "convert": "write a model in another form",
    "view": "one HTML page of a run: curves and plan trees",
}


def summarise(group: Any) -> Any:
    """Give each command of a click group its line."""
    for name, command in group.commands.items():
        command.short_help = SUMMARIES[name]
    return group
