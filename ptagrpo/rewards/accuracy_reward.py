"""Accuracy reward with TRL's name: does the completion's answer equal the column `solution`?"""

from __future__ import annotations

from typing import Any

from .outcome import AnswerJudge, judge_responses, outcome_reward
from .think_format_reward import completion_text


def accuracy_reward(
    completions: list[str] | list[list[dict[str, Any]]],
    solution: list[str | None],
    judge: AnswerJudge | None = None,
    **kwargs: Any,
) -> list[float | None]:
    """1.0 where the answers are mathematically equal, 0.0 where not, None where `solution` is None.

    Args:
        judge: an `answers.Judge`; the trainer passes its own. Default: one for this call.
    """
    texts = [completion_text(completion) for completion in completions]
    if judge is None:
        from ..answers import Judge

        with Judge() as own:
            verdicts = judge_responses(texts, solution, own, "math")
    else:
        verdicts = judge_responses(texts, solution, judge, "math")
    return [outcome_reward(None if verdict is None else verdict.status == "correct") for verdict in verdicts]
