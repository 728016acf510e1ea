"""`ptagrpo eval`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from ..errors import ConfigError
from .main import Interrupted


def run(
    *,
    model: str | None,
    benchmark: str | None,
    responses: Path | None,
    output: Path | None,
    output_dir: Path | None,
    timeout: float,
    kind: str,
    progress: bool,
    **settings: Any,
) -> None:
    """Sample and judge a model on benchmarks, or judge a file of responses; print the figures."""
    if responses is not None:
        if model is not None or benchmark is not None:
            raise ConfigError("--responses grades a file as it is: leave out the model and --benchmark")
        if output is None:
            raise ConfigError("--responses needs --output FILE.jsonl for the graded rows")
        _grade(responses, output, timeout, kind, progress)
        return
    if model is None or not benchmark:
        raise ConfigError("give a model and --benchmark NAMES, or --responses FILE with --output FILE")
    if output is not None:
        raise ConfigError("--output belongs to --responses; a model's samples go to --output_dir")
    from ..answers import Judge
    from ..evaluation import render, results_table, run_eval

    names = [name.strip() for name in benchmark.split(",") if name.strip()]
    try:
        with Judge(timeout=timeout) as judge:
            results = run_eval(
                model, names, output_dir=output_dir, judge=judge, kind=kind, progress=progress, **settings
            )
    except KeyboardInterrupt:
        where = f"Judged samples are saved in {output_dir}; the same command goes on" if output_dir else ""
        raise Interrupted(where) from None
    typer.echo(render(results_table(results)))
    if output_dir is not None:
        typer.echo(f"samples and summaries: {output_dir}")


def _grade(responses: Path, output: Path, timeout: float, kind: str, progress: bool) -> None:
    from ..evaluation import grade_responses_file

    summary = grade_responses_file(responses, output, kind=kind, timeout=timeout, progress=progress)
    interval = summary["interval"]
    typer.echo(
        f"{summary['correct']} of {summary['n']} responses right, {summary['questions']} questions; accuracy "
        f"{100 * summary['accuracy']:.1f} % ({100 * interval['low']:.1f} to {100 * interval['high']:.1f})"
    )
    typer.echo("  " + ", ".join(f"{status}: {count}" for status, count in summary["statuses"].items()))
    typer.echo(f"graded rows: {output}")
