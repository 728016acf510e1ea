"""Accuracy of what follows the reasoning, with TRL's name: a response that never ends its reasoning is wrong."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .accuracy_reward import accuracy_reward
from .outcome import AnswerJudge
from .think_format_reward import completion_text


def reasoning_accuracy_reward(
    completions: list[str] | list[list[dict[str, Any]]],
    solution: list[str | None],
    reasoning_delimiters: Sequence[str] | None = None,
    judge: AnswerJudge | None = None,
    **kwargs: Any,
) -> list[float | None]:
    """`accuracy_reward` of the text after the last delimiter; 0.0 where there is none.

    None where `solution` is None, as for `accuracy_reward`.

    Args:
        reasoning_delimiters: texts that end the reasoning; None: `</think>`.
        judge: an `answers.Judge`; the trainer passes its own. Default: one for this call.
    """
    delimiters = ["</think>"] if reasoning_delimiters is None else list(reasoning_delimiters)
    finals = [after_last(completion_text(completion), delimiters) for completion in completions]
    scores = accuracy_reward([final or "" for final in finals], solution, judge=judge)
    return [
        0.0 if final is None and score is not None else score
        for final, score in zip(finals, scores, strict=True)
    ]


def after_last(text: str, delimiters: Sequence[str]) -> str | None:
    """What follows the last occurrence of any delimiter; None where there is none.

    >>> after_last("a</think>b</think> 4", ["</think>"]), after_last("a", ["</think>"])
    (' 4', None)
    """
    ends = [text.rfind(delimiter) + len(delimiter) for delimiter in delimiters if delimiter in text]
    return text[max(ends) :] if ends else None
