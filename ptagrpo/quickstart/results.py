"""Numbers of the quickstart: accuracy with intervals, plan accuracy, tokens, and paired differences. No
drawing here.

A sample is one response to one held-out question. Every model answers the same questions, one response each,
so that a difference between two models is paired by question.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from ..statistics import mcnemar

Z95 = 1.959963984540054


def wilson(right: int, count: int) -> tuple[float, float]:
    """95 % interval of a share by Wilson's score method; `(0, 1)` for no observations.

    >>> tuple(round(x, 3) for x in wilson(50, 100))
    (0.404, 0.596)
    """
    if count == 0:
        return 0.0, 1.0
    share, z2 = right / count, Z95 * Z95
    middle = (share + z2 / (2 * count)) / (1 + z2 / count)
    half = Z95 / (1 + z2 / count) * math.sqrt(share * (1 - share) / count + z2 / (4 * count * count))
    return max(0.0, middle - half), min(1.0, middle + half)


@dataclass(frozen=True)
class Share:
    """A share of samples: how many of how many, and its 95 % Wilson interval."""

    right: int
    count: int

    @property
    def value(self) -> float:
        """The share itself; NaN for no observations."""
        return self.right / self.count if self.count else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval."""
        return wilson(self.right, self.count)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "value": self.value,
            "interval95": list(self.interval),
            "right": self.right,
            "count": self.count,
        }


@dataclass(frozen=True)
class Sample:
    """One graded response: its question, difficulty, verdicts, and tokens."""

    question: str
    length: int
    correct: bool
    plan_right: bool
    tokens: int


@dataclass
class HeldOut:
    """What one model did on the held-out questions, in the order of the questions."""

    name: str
    samples: list[Sample] = field(default_factory=list)

    def accuracy(self, length: int | None = None) -> Share:
        """Share of right answers, of all questions or of one difficulty."""
        chosen = [s for s in self.samples if length is None or s.length == length]
        return Share(sum(s.correct for s in chosen), len(chosen))

    def plans(self) -> Share:
        """Share of exactly right plans (names and order)."""
        return Share(sum(s.plan_right for s in self.samples), len(self.samples))

    def accuracy_given(self, plan_right: bool) -> Share:
        """Share of right answers among the responses whose plan is right (or is not)."""
        chosen = [s for s in self.samples if s.plan_right == plan_right]
        return Share(sum(s.correct for s in chosen), len(chosen))

    def mean_tokens(self) -> float:
        """Mean tokens of a response."""
        return sum(s.tokens for s in self.samples) / max(1, len(self.samples))

    def lengths(self) -> list[int]:
        """Difficulties that occur, in order."""
        return sorted({s.length for s in self.samples})

    def as_dict(self) -> dict[str, Any]:
        """For JSON, samples left out."""
        return {
            "name": self.name,
            "questions": len(self.samples),
            "accuracy": self.accuracy().as_dict(),
            "plans_right": self.plans().as_dict(),
            "mean_tokens": self.mean_tokens(),
            "accuracy_given_right_plan": self.accuracy_given(True).as_dict(),
            "accuracy_given_wrong_plan": self.accuracy_given(False).as_dict(),
            "accuracy_by_length": {str(k): self.accuracy(k).as_dict() for k in self.lengths()},
        }


@dataclass(frozen=True)
class Paired:
    """Difference of two models' accuracy over the same questions: `a` minus `b`, as shares.

    difference, low, high: with its 95 % interval (normal approximation over the per-question differences).
    only_a, only_b: questions that only one of them answered right.
    p_value: exact two-sided McNemar test.
    """

    a: str
    b: str
    difference: float
    low: float
    high: float
    only_a: int
    only_b: int
    p_value: float

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def paired(a: HeldOut, b: HeldOut) -> Paired:
    """Compare two models on the same questions.

    Raises:
        ValueError: they did not answer the same questions in the same order.

    >>> x = HeldOut("x", [Sample("1", 2, True, True, 9), Sample("2", 2, True, True, 9)])
    >>> y = HeldOut("y", [Sample("1", 2, True, True, 9), Sample("2", 2, False, True, 9)])
    >>> paired(x, y).difference, paired(x, y).only_a, paired(x, y).p_value
    (0.5, 1, 1.0)
    """
    if [s.question for s in a.samples] != [s.question for s in b.samples] or not a.samples:
        raise ValueError(
            f"paired: {a.name!r} and {b.name!r} must hold the same questions in the same order "
            f"({len(a.samples)} and {len(b.samples)} samples)"
        )
    n = len(a.samples)
    differences = [int(x.correct) - int(y.correct) for x, y in zip(a.samples, b.samples, strict=True)]
    mean = sum(differences) / n
    variance = sum((d - mean) ** 2 for d in differences) / max(1, n - 1)
    half = Z95 * math.sqrt(variance / n)
    only_a, only_b = differences.count(1), differences.count(-1)
    return Paired(a.name, b.name, mean, mean - half, mean + half, only_a, only_b, mcnemar(only_a, only_b))


def percent(value: float) -> str:
    """ "34.1 %"; a dash for NaN."""
    return "–" if math.isnan(value) else f"{100 * value:.1f} %"


def plus_minus(share: Share) -> str:
    """ "± 3.8": half the width of the 95 % interval, in points."""
    low, high = share.interval
    return f"± {50 * (high - low):.1f}"


def paired_sentence(pair: Paired, questions: int) -> str:
    """The paired comparison in one sentence, whichever way it came out."""
    verdict = (
        "no difference that this many questions can show"
        if pair.low <= 0 <= pair.high
        else f"{pair.a if pair.difference > 0 else pair.b} is ahead"
    )
    return (
        f"{pair.a} minus {pair.b} on the same {questions} questions: {100 * pair.difference:+.1f} points "
        f"(95 % interval {100 * pair.low:+.1f} to {100 * pair.high:+.1f}; only {pair.a} right on "
        f"{pair.only_a}, only {pair.b} on {pair.only_b}): {verdict}."
    )


def result_rows(models: Sequence[HeldOut]) -> tuple[list[str], list[list[str]]]:
    """Heads and rows of the result table, 80 columns wide; a cell "value|remark" carries its interval as
    remark."""
    lengths = models[0].lengths()
    head = ["model", "accuracy %", "right plans %", "tokens", *(f"{k} steps" for k in lengths)]
    rows = []
    for model in models:
        accuracy, plans = model.accuracy(), model.plans()
        rows.append(
            [
                model.name,
                f"{100 * accuracy.value:.1f}|{plus_minus(accuracy)}",
                f"{100 * plans.value:.1f}|{plus_minus(plans)}",
                f"{model.mean_tokens():.1f}",
                *(f"{100 * model.accuracy(k).value:.0f}" for k in lengths),
            ]
        )
    return head, rows
