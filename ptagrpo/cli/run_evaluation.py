"""`ptagrpo eval`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from ..errors import ConfigError
from .main import Interrupted

SHOWN = 5  # questions whose images could not be opened that are told by name


def run(
    *,
    model: str | None,
    benchmark: str | None,
    responses: Path | None,
    output: Path | None,
    output_dir: Path | None,
    data_path: Path | None,
    timeout: float,
    kind: str,
    official: bool,
    partial: bool,
    prompt_style: str | None,
    progress: bool,
    **settings: Any,
) -> None:
    """Sample and judge a model on benchmarks, or judge a file of responses; print the figures."""
    from ..benchmarks import expand

    wanted = [name for part in (benchmark or "").split(",") if part.strip() for name in expand(part.strip())]
    if responses is not None:
        if model is not None:
            raise ConfigError("--responses grades a file as it is: leave out the model")
        if len(wanted) > 1:
            raise ConfigError(f"--responses grades the responses of one benchmark, got {', '.join(wanted)}")
        if official and not wanted:
            raise ConfigError("--official needs --benchmark NAME: each benchmark has its own published rule")
        if output is None:
            raise ConfigError("--responses needs --output FILE.jsonl for the graded rows")
        _grade(
            responses, output, benchmark=wanted[0] if wanted else None, official=official, data_path=data_path,
            timeout=timeout, kind=kind, progress=progress,
        )  # fmt: skip
        return
    if model is None or not wanted:
        raise ConfigError("give a model and --benchmark NAMES, or --responses FILE with --output FILE")
    if output is not None:
        raise ConfigError("--output belongs to --responses; a model's samples go to --output_dir")
    from ..answers import Judge
    from ..evaluation import paper_tables, render, results_table, run_eval

    style = prompt_style or ("official" if official else "plan")
    try:
        with Judge(timeout=timeout) as judge:
            results = run_eval(
                model, wanted, output_dir=output_dir, data_path=data_path, partial=partial, judge=judge, kind=kind,
                official=official, prompt_style=style, progress=progress, **settings,
            )  # fmt: skip
    except KeyboardInterrupt:
        where = f"Judged samples are saved in {output_dir}; the same command goes on" if output_dir else ""
        raise Interrupted(where) from None
    for table in paper_tables(results, Path(model).name or model):
        typer.echo(render(table, width=160))
    typer.echo(render(results_table(results)))
    for result in results:
        _say_what_went_wrong(result)
    if output_dir is not None:
        typer.echo(f"samples and summaries: {output_dir}")


def _say_what_went_wrong(result: Any) -> None:
    for note in result.notes:
        typer.echo(f"note: {note}", err=True)
    failed = {row["id"]: row["detail"] for row in result.rows if row["finish_reason"] == "image"}
    for name, detail in list(failed.items())[:SHOWN]:
        typer.echo(f"{result.name}: not asked, counted as wrong: {name}: {detail}", err=True)
    if len(failed) > SHOWN:
        typer.echo(f"{result.name}: {len(failed) - SHOWN} more questions were not asked", err=True)


def _grade(responses: Path, output: Path, **settings: Any) -> None:
    from ..evaluation import grade_responses_file

    summary = grade_responses_file(responses, output, **settings)
    interval = summary["interval"]
    typer.echo(
        f"{summary['correct']} of {summary['n']} responses right, {summary['questions']} questions; accuracy "
        f"{100 * summary['accuracy']:.1f} % ({100 * interval['low']:.1f} to {100 * interval['high']:.1f})"
    )
    if len(summary.get("parts", {})) > 1:
        parts = ", ".join(f"{name} {100 * value:.1f} %" for name, value in summary["parts"].items())
        typer.echo(f"  mean of {parts}")
    typer.echo("  " + ", ".join(f"{status}: {count}" for status, count in summary["statuses"].items()))
    typer.echo(f"graded rows: {output}")
