"""Verdicts on the responses to a benchmark's questions, in its own way or its published one."""

from __future__ import annotations

import random
from collections.abc import Sequence

from ..answers import Judge, Verdict
from ..benchmarks import OFFICIAL_SEED, BenchmarkSpec
from ..records import Question


class Grader:
    """Grades responses one after the other.

    The published parsers of MMMU and MMMU-Pro guess where they find nothing. The guesses come from one generator with
    the published seed, in the order in which responses are graded: to continue, grade again what came before.

    Args:
        spec: the benchmark; None: mathematics.
        judge: compares mathematics.
        kind: "math" or "exact", for the judge.
        official: the published rule, where the benchmark has one of its own; else this changes nothing.
    """

    def __init__(self, spec: BenchmarkSpec | None, judge: Judge, kind: str = "math", official: bool = False):
        self.spec = spec
        self.judge = judge
        self.kind = kind
        self.official = official
        self._generator = random.Random(OFFICIAL_SEED)

    def grade(self, items: Sequence[tuple[Question, str]]) -> list[Verdict]:
        """Verdicts on (question, response) pairs, in their order."""
        spec = self.spec
        if self.official and spec is not None and spec.official is not None:
            return [spec.official(question, response, self._generator) for question, response in items]
        if spec is not None and spec.grade is not None:
            return [spec.grade(question, response, self.judge) for question, response in items]
        return self.judge.judge(
            [(response, question.answer or "") for question, response in items], self.kind
        )

    def replay(self, items: Sequence[tuple[Question, str]]) -> None:
        """Bring the guesses to where they were after `items`."""
        if self.official and self.spec is not None and self.spec.official is not None:
            self.grade(items)
