"""The result table in the terminal (rich)."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.table import Table
from rich.text import Text


def result_table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]], caption: str = "") -> Table:
    """A rich table of at most 80 columns. The first column is left-aligned, the others right.

    A cell "value|remark" shows the remark dimmed; a column's name breaks at its first space.
    """
    table = Table(
        box=box.SIMPLE_HEAD,
        title=title,
        caption=caption or None,
        title_justify="left",
        caption_justify="left",
        pad_edge=False,
    )
    for i, name in enumerate(head):
        first = i == 0
        heading = name.replace(" ", "\n", 1)
        table.add_column(
            heading, justify="left" if first else "right", no_wrap=True, style="bold" if first else ""
        )
    for row in rows:
        cells = []
        for cell in row:
            value, _, remark = cell.partition("|")
            text = Text(value)
            if remark:
                text.append(f" {remark}", style="dim")
            cells.append(text)
        table.add_row(*cells)
    return table
