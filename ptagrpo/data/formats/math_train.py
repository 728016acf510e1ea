"""MATH: problem, and its answer or a worked solution with the answer boxed; also the schema of MATH500."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..columns import answer_or_none, require_text
from . import Hub, RowFormat, Trace, Unusable


def _question(row: Mapping[str, Any]) -> tuple[str, str | None]:
    from ...answers.extract import extract_answer

    problem = require_text(row, ("problem",), "the problem")
    if "answer" in row or not isinstance(row.get("solution"), str):
        return problem, answer_or_none(row)
    return problem, extract_answer(row["solution"])


def _traces(row: Mapping[str, Any]) -> list[Trace]:
    problem, answer = _question(row)
    worked = row.get("solution")
    if not isinstance(worked, str) or not worked.strip():
        raise Unusable("the row holds no worked solution")
    return [Trace(problem, worked.strip(), answer, correct=True)]


FORMAT = RowFormat(
    name="math_train",
    columns="problem, answer and/or solution (its answer in \\boxed{}), and difficulty, level, type or subject",
    detect=lambda row: (
        "problem" in row
        and ("answer" in row or "solution" in row)
        and bool({"type", "difficulty", "level", "subject"} & set(row))
        and "conversations" not in row
    ),
    question=_question,
    traces=_traces,
    hub=Hub("DigitalLearningGmbH/MATH-lighteval", rows=7500, licence="MIT"),
    file="maths/math_train_problems.json",
)
