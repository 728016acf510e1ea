"""What the quickstart writes to the terminal besides its progress bars (rich, 80 columns)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich import box
from rich.table import Table
from rich.text import Text

from ...data import chains
from ..results import paired_sentence, result_rows

if TYPE_CHECKING:
    from ..run import Summary


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


def example(seed: int) -> Table:
    """A question of the task with its right solution, for the eye."""
    problem = chains.problems(4, split="train", seed=seed)[2]
    record = chains.clean_record(problem)
    grid = Table.grid(padding=(0, 2), pad_edge=True)
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column()
    for name, text in (
        ("question", problem.question),
        ("plan", record["plan"]),
        ("think", record["think"]),
        ("answer", f"{record['answer']}  (numbers wrap around at 7, as weekdays do)"),
    ):
        grid.add_row(name, text)
    return grid


def print_summary(summary: Summary, root: Path, say: Callable[..., None]) -> None:
    """The results, the paired comparisons, times, and where the files are."""
    models = list(summary.models.values())
    count = len(models[0].samples)
    head, rows = result_rows(models)
    say()
    title = f"{count} held-out questions, temperature 1, ± half of a 95 % interval"
    say(result_table(title, head, rows))
    say(
        f"\n{paired_sentence(summary.gain, count)}\n{paired_sentence(summary.versus, count)}", highlight=False
    )
    trained = [summary.tokens[f"{name}/trained_tokens"] / 1000 for name in ("pta_grpo", "grpo")]
    say(
        f"For the same number of responses PTA-GRPO put {trained[0]:.0f} thousand tokens through the model "
        f"in training, GRPO {trained[1]:.0f} thousand: a tree computes its plans once.",
        highlight=False,
    )
    if summary.quick:
        say("[yellow]A smoke test: far too short for these numbers to mean anything.[/yellow]")
    total = sum(summary.seconds.values())
    times = ", ".join(f"{name} {seconds:.0f}" for name, seconds in summary.seconds.items())
    say(f"\n[dim]{total:.0f} s in all ({times})[/dim]", highlight=False)
    say(
        f"\n  [bold]{root / 'trees.html'}[/bold]   plans before and after: open it in a browser\n"
        f"  [bold]{root / 'curves.png'}[/bold]   loss, reward, accuracy\n"
        f"  [bold]{root / 'model'}[/bold]        the model as a Hugging Face folder\n"
        f"  [bold]{root / 'results.json'}[/bold] all numbers, and metrics.jsonl every step\n",
        highlight=False,
    )
