"""`ptagrpo view`."""

from __future__ import annotations

from pathlib import Path

import typer


def run(run: Path, *, output: Path | None, watch: bool, interval: float, limit_mb: float) -> None:
    """Write the page, once or whenever the run changes."""
    from .. import viewer

    if not watch:
        page = viewer.write_page(run, output, limit_mb=limit_mb)
        typer.echo(f"{page} ({page.stat().st_size / 1e6:.1f} MB): open it in a browser")
        return

    def wrote(page: Path) -> None:
        typer.echo(f"{page} ({page.stat().st_size / 1e6:.1f} MB); watching, Ctrl-C ends it")

    viewer.watch(run, output, interval=interval, limit_mb=limit_mb, wrote=wrote)
