"""Outcome reward (Eq. 3): 1 if the predicted answer equals the reference answer, else 0.

Whether two answers are equal is decided by `ptagrpo.answers.Judge`. A response without an answer, or one
whose comparison timed out or failed, is not correct: the judge never guesses, and the verdicts are counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class Verdict(Protocol):
    """What a judge returns for one response; see `ptagrpo.answers.Verdict`."""

    @property
    def status(self) -> str: ...
    @property
    def extracted(self) -> str | None: ...
    @property
    def detail(self) -> str: ...


class AnswerJudge(Protocol):
    """The part of `ptagrpo.answers.Judge` that rewards use."""

    def judge(self, items: list[tuple[str, str]], kind: str = ...) -> Sequence[Verdict]: ...


def judge_responses(
    texts: Sequence[str], golds: Sequence[str | None], judge: AnswerJudge, kind: str
) -> list[Verdict | None]:
    """Judge each text against its gold; None where there is no gold. Equal pairs are judged once."""
    items = list(
        dict.fromkeys((text, gold) for text, gold in zip(texts, golds, strict=True) if gold is not None)
    )
    verdicts = dict(zip(items, judge.judge(items, kind=kind), strict=True)) if items else {}
    return [None if gold is None else verdicts[text, gold] for text, gold in zip(texts, golds, strict=True)]


def outcome_reward(correct: bool | None) -> float | None:
    """1.0 for a correct response, 0.0 for any other, None (not applicable) where nothing could be compared.

    >>> outcome_reward(True), outcome_reward(False), outcome_reward(None)
    (1.0, 0.0, None)
    """
    return None if correct is None else float(correct)
