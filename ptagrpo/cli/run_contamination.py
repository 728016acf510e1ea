"""`ptagrpo contamination`."""

from __future__ import annotations

from pathlib import Path

import typer

from .arguments import key_values


def run(
    *,
    data: str,
    against: str | None,
    output: Path | None,
    clean: Path | None,
    n: int,
    min_overlap: float,
    data_path: Path | None,
    data_format: str | None,
    dataset_config: str | None,
    dataset_train_split: str | None,
    columns: list[str] | None,
    limit: int | None,
    progress: bool,
) -> None:
    """Compare the questions of a data set with benchmarks; print and write what was found."""
    from ..data import check_contamination, open_rows, questions_of
    from ..io import atomic_write_json, write_jsonl

    rows, spec = open_rows(
        data,
        data_format or "auto",
        key_values("columns", columns or []),
        dataset_train_split,
        dataset_config,
        limit,
    )
    names = None if against is None else [name.strip() for name in against.split(",") if name.strip()]
    report = check_contamination(
        questions_of(rows, spec),
        names,
        n=n,
        min_overlap=min_overlap,
        data_path=data_path,
        progress=progress,
    )
    for line in report.lines():
        typer.echo(line)
    if output is not None:
        atomic_write_json(output, {"data": data, **report.to_dict()})
        typer.echo(f"every overlap: {output}")
    if clean is not None:
        contaminated = set(report.rows)
        write_jsonl(clean, [row.values for index, row in enumerate(rows) if index not in contaminated])
        typer.echo(f"{len(rows) - len(contaminated)} rows without an overlap: {clean}")
