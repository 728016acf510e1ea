"""MATH: problem, answer, and where the file carries it the worked solution; also the schema of MATH500."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..columns import answer_or_none, require_text
from . import RowFormat, Trace


def _question(row: Mapping[str, Any]) -> tuple[str, str | None]:
    return require_text(row, ("problem",), "the problem"), answer_or_none(row)


def _traces(row: Mapping[str, Any]) -> list[Trace]:
    problem, answer = _question(row)
    worked = row.get("solution")
    if answer is None or not isinstance(worked, str) or not worked.strip():
        return []
    return [Trace(problem, worked.strip(), answer, correct=True)]


FORMAT = RowFormat(
    name="math_train",
    columns="problem, answer, and optionally solution, difficulty or level, type or subject",
    detect=lambda row: (
        "problem" in row
        and "answer" in row
        and bool({"type", "difficulty", "level", "subject"} & set(row))
        and "conversations" not in row
    ),
    question=_question,
    traces=_traces,
)
