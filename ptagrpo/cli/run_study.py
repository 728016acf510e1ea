"""`ptagrpo compare`, `ptagrpo sweep` and `ptagrpo ablate`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import typer

from .main import Interrupted


def run_compare(study: Path, methods: str, **given: Any) -> None:
    """Compare methods."""
    from ..study import compare

    names = [name.strip() for name in methods.split(",") if name.strip()]
    _run(study, given, lambda spec: compare(spec, names), "Comparison of methods")


def run_sweep(study: Path, over: Sequence[str], method: str, **given: Any) -> None:
    """Sweep options."""
    from ..study import sweep

    _run(study, given, lambda spec: sweep(spec, over, method), f"Sweep of {method}")


def run_ablate(study: Path, method: str, **given: Any) -> None:
    """Take a method apart."""
    from ..study import ablate

    _run(study, given, lambda spec: ablate(spec, method), f"Parts of {method}")


def _run(study: Path, given: dict[str, Any], make: Callable[[Any], Any], kind: str) -> None:
    from rich.console import Console

    from ..study import StudySpec, make_task, run_study
    from ..study.tables import note, rich_tables, verdicts
    from .run_training import load_reward

    amount, dry_run = given.pop("amount"), given.pop("dry_run")
    spec = StudySpec.from_yaml(study, amount=amount, **given)
    variants, pairs = make(spec)
    title = f"{kind}, {spec.amount:g} {spec.budget} each"
    if dry_run:
        from ..study.dry_run import describe

        typer.echo(describe(spec, variants, make_task(spec, load_reward), title=title))
        return
    try:
        numbers = run_study(
            spec, variants, pairs, title=title, task=make_task(spec, load_reward), say=typer.echo
        )
    except KeyboardInterrupt:
        raise Interrupted(
            f"Finished cells and checkpoints are in {spec.output_dir}; the same command goes on"
        ) from None
    console = Console()
    for table in rich_tables(numbers, title):
        console.print(table)
    for sentence in verdicts(numbers):
        console.print(f"{sentence}.")
    console.print(note(numbers))
    typer.echo(f"report.md, results.json, results.png, training.png: {spec.output_dir}")
