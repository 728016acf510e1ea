"""`ptagrpo benchmarks`."""

from __future__ import annotations

from pathlib import Path

import typer

from ..benchmarks import PAPER_ORDER, TABLES, at_hand, find, names
from ..errors import ConfigError


def run(data_path: Path | None) -> None:
    """Print one line for each benchmark, those of the paper first."""
    from rich.table import Table

    from ..evaluation import render

    if data_path is not None and not data_path.is_dir():
        raise ConfigError(f"--data_path {data_path}: no such folder")
    table = Table(title="Benchmarks", title_justify="left")
    for heading, justify in (
        ("name", "left"), ("title", "left"), ("table", "left"), ("questions", "right"), ("licence", "left"),
        ("source", "left"), ("data", "left"),
    ):  # fmt: skip
        table.add_column(heading, justify=justify, no_wrap=heading == "name")
    others = [name for name in names() if name not in PAPER_ORDER]
    for name in (*PAPER_ORDER, *others):
        spec = find(name)
        source = f"{spec.hub_id}, {spec.hub_split}"
        count = "any" if spec.rows is None else f"{spec.rows:,}"
        here = "at hand" if at_hand(spec, data_path) else "not here"
        table.add_row(
            name,
            spec.title,
            TABLES.get(spec.table, spec.table),
            count,
            spec.licence or "unknown",
            source,
            here,
        )
    typer.echo(render(table, width=140))
    typer.echo(
        "Data that is not here is read from the hub (pip install 'ptagrpo[data]'), or from --data_path."
    )
