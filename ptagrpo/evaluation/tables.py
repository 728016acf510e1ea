"""Results as tables for the terminal: one of all figures, and the paper's two (mathematics; multimodal)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ..benchmarks import PAPER_ORDER, TABLES
from .result import EvalResult


def results_table(results: Sequence[EvalResult]) -> Any:
    """One `rich` table of several results, a row for each. Percent with 95 % intervals over questions."""
    from rich.table import Table

    table = Table(title="Accuracy in %, 95 % interval over questions", title_justify="left")
    table.add_column("benchmark")
    for heading in (
        "questions", "k", "avg@k", "pass@k", "maj@k", "no answer", "timeout, error", "cut off", "tokens"
    ):  # fmt: skip
        table.add_column(heading, justify="right")
    for result in results:
        summary = result.summary()
        statuses = result.statuses
        table.add_row(
            result.name,
            str(summary["questions"]),
            str(result.k),
            str(result.interval),
            str(result.pass_at(result.k)),
            str(result.maj()),
            str(statuses["no_answer"]),
            str(statuses["timeout"] + statuses["error"]),
            f"{100 * summary['truncated']:.0f}%",
            f"{summary['mean_tokens']:.0f}" + (f" x {result.k}" if result.k > 1 else ""),
        )
    return table


def render(table: Any, width: int = 120) -> str:
    """A `rich` renderable as plain text."""
    from rich.console import Console

    console = Console(width=width, no_color=True, force_terminal=False)
    with console.capture() as capture:
        console.print(table)
    return capture.get()


def paper_tables(results: Sequence[EvalResult], model: str = "model") -> list[Any]:
    """The paper's tables: a column for each benchmark, a row for the model; avg@k in % with its 95 % interval.

    Benchmarks stand in the paper's order; those that the paper does not have come last. The mean is that of the
    columns. A table without results is left out.
    """
    from rich.table import Table

    position = {name: index for index, name in enumerate(PAPER_ORDER)}
    tables = []
    for key, heading in TABLES.items():
        chosen = [result for result in results if result.side == key]
        if not chosen:
            continue
        chosen.sort(key=lambda result: (position.get(result.name, len(position)), result.name))
        table = Table(title=f"{heading}: accuracy in %, 95 % interval over questions", title_justify="left")
        table.add_column("model")
        for result in chosen:
            table.add_column(result.title, justify="right")
        table.add_column("mean", justify="right")
        mean = math.fsum(result.accuracy for result in chosen) / len(chosen)
        table.add_row(model, *(str(result.interval) for result in chosen), f"{100 * mean:.1f}")
        tables.append(table)
    return tables
