"""`--dry_run` of a study: its cells, what they would take, and what looks wrong, before anything is trained."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import yaml

from ..training.dry_run import DryRun, duration
from .cell import RESULT, Task, cell_folder, configurations, trainer_of, training_questions
from .spec import StudySpec, Variant
from .variants import START


def describe(spec: StudySpec, variants: Sequence[Variant], task: Task, *, title: str) -> str:
    """The resolved study as YAML; then, of each variant, options, steps, memory, time of one cell, and doubts.

    Nothing is written and nothing is trained: a model of the right size, not the start, is what is timed.

    Raises:
        ConfigError: what `run_study` would refuse before its first cell.
    """
    root = Path(spec.output_dir)
    settings = yaml.safe_dump(_plain(dataclasses.asdict(spec)), sort_keys=False, allow_unicode=True)
    lines = ["# the resolved study", settings]
    everything = [START, *variants]
    left = {v.name: sum(not (cell_folder(root, v, seed) / RESULT).exists() for seed in range(spec.seeds))
            for v in everything}  # fmt: skip
    lines.append(f"{title}: {len(everything) * spec.seeds} cells ({spec.seeds} seeds, the start among them), "
                 f"{sum(left.values())} to be run; folder {root}")  # fmt: skip
    total = 0.0
    for variant, config in zip(variants, configurations(spec, variants, task), strict=True):
        policy = task.untrained()
        # A folder of its own: checkpoints of a half-done cell are gone on with, not something wrong.
        config = config.replace(output_dir=str(root / "dry_run"), contamination="off")
        questions = training_questions(spec, task, variant, 0)
        dry = DryRun(trainer_of(config, policy, questions, task))
        seconds = _seconds(spec, dry)
        if spec.budget != "rollouts":  # max_steps is only a limit there: what is doubtful depends on the steps made
            made = max(1, round(seconds / (dry.seconds or 1.0) * dry.steps))
            dry = DryRun(trainer_of(config.replace(max_steps=made), policy, questions, task), timed=False)
        total += seconds * left[variant.name]
        steps = f"{dry.steps} steps" if spec.budget == "rollouts" else f"{spec.amount:g} {spec.budget}"
        lines += ["", f"{variant.name} ({variant.algorithm}, from the {variant.start} start): a cell takes {steps} of "
                  f"at most {dry.tokens_per_step:,} tokens, about {duration(seconds)}, "
                  f"{sum(dry.memory.values()) / 1024**2:,.1f} MiB"]  # fmt: skip
        if variant.changes:
            lines.append("  " + ", ".join(f"{name}: {value}" for name, value in variant.changes.items()))
        lines += [f"  looks wrong: {doubt}" for doubt in dry.doubts]
    return "\n".join([*lines, "", f"about {duration(total)} in all; making the starts and the evaluation not counted, "
                      "nor sampling where the budget is not seconds"])  # fmt: skip


def _seconds(spec: StudySpec, dry: DryRun) -> float:
    """Seconds of a cell at most."""
    if spec.budget == "seconds":
        return float(spec.amount)
    assert dry.seconds is not None
    if spec.budget == "tokens":
        return dry.seconds / (dry.steps * dry.tokens_per_step) * spec.amount
    return dry.seconds


def _plain(value: object) -> object:
    """Mappings and tuples as YAML writes them."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value
