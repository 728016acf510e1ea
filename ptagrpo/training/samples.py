"""The table of samples that training prints now and then (`log_completions`), drawn by rich."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text
from tqdm.auto import tqdm

from ..plan_tree.record import prompt_text
from ..plan_tree.terminal import mark
from ..records import Group, Response
from .callbacks import TrainerCallback, TrainerControl, TrainerState

LONGEST = {"prompt": 200, "completion": 600}  # characters that are shown; completions/ has all of them


def sample_table(
    groups: Sequence[Group], step: int, *, limit: int | None = None, unique_prompts: bool = False
) -> Table:
    """A row for each response: prompt, completion, verdict, components of the reward, advantage.

    Args:
        limit: rows at most; questions take turns, so that few rows are not all of one question.
        unique_prompts: only the first response to each question.
    """
    pairs = _pick(groups, limit, unique_prompts)
    names = list(dict.fromkeys(name for _, response in pairs for name in response.rewards))
    table = Table(title=f"Step {step}", show_lines=True, title_justify="left")
    table.add_column("prompt", ratio=2, overflow="fold")
    table.add_column("completion", ratio=5, overflow="fold")
    table.add_column("answer", overflow="fold")
    for name in (*names, "reward", "advantage"):
        table.add_column(name, justify="right", no_wrap=True)
    for group, response in pairs:
        numbers = [_number(response.rewards.get(name)) for name in names]
        table.add_row(
            _short(prompt_text(group.question.prompt), "prompt"),
            _short(response.text, "completion"),
            _verdict(group, response),
            *numbers,
            _number(response.reward),
            f"{response.advantage:+.2f}",
        )
    return table


class SampleTable(TrainerCallback):
    """Prints the table when metrics are logged. groups: those of the rollout in use, set by the trainer."""

    def __init__(self) -> None:
        self.groups: Sequence[Group] | None = None

    def on_log(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if not args.log_completions or args.num_completions_to_print == 0 or not self.groups:
            return
        table = sample_table(
            self.groups, state.global_step, limit=args.num_completions_to_print,
            unique_prompts=args.log_unique_prompts,
        )  # fmt: skip
        with tqdm.external_write_mode():
            Console().print(table)


def _pick(groups: Sequence[Group], limit: int | None, unique: bool) -> list[tuple[Group, Response]]:
    if unique:
        pairs = [(group, group.responses[0]) for group in groups]
    elif limit is None:
        pairs = [(group, response) for group in groups for response in group.responses]
    else:
        most = max((len(group.responses) for group in groups), default=0)
        pairs = [(g, g.responses[k]) for k in range(most) for g in groups if k < len(g.responses)]
    return pairs[:limit]


def _short(text: str, kind: str) -> Text:
    longest = LONGEST[kind]
    return Text(text if len(text) <= longest else f"{text[:longest]}… (+{len(text) - longest} characters)")


def _verdict(group: Group, response: Response) -> Text:
    text = Text()
    text.append(*mark(response.correct))
    text.append(f" {'none' if response.answer is None else response.answer}")
    if response.correct is False and group.question.answer is not None:
        text.append(f" (right: {group.question.answer})", style="dim")
    return text


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"
