"""The result table in the terminal (rich)."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text


def result_table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]], caption: str = "") -> Table:
    """A rich table; a cell "value|remark" shows the remark dimmed. The first column is left-aligned, the
    others right."""
    table = Table(
        title=title, caption=caption or None, title_justify="left", caption_justify="left", pad_edge=False
    )
    for i, name in enumerate(head):
        table.add_column(
            name, justify="left" if i == 0 else "right", no_wrap=True, style="bold" if i == 0 else ""
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
