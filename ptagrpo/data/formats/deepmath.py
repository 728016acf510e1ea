"""DeepMath-103K, the paper's RL data: question, final_answer, difficulty, topic, r1_solution_1..3."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..columns import answer_text, reasoning_text, require, require_text
from . import Hub, RowFormat, Trace


def _question(row: Mapping[str, Any]) -> tuple[str, str]:
    return (
        require_text(row, ("question",), "the question"),
        answer_text(require(row, ("final_answer",), "the final answer")),
    )


def _traces(row: Mapping[str, Any]) -> list[Trace]:
    from ...answers.extract import extract_answer

    question, reference = _question(row)
    return [
        Trace(question, reasoning_text(row[name]), extract_answer(row[name]), reference=reference)
        for name in sorted(name for name in row if str(name).startswith("r1_solution_"))
        if isinstance(row[name], str) and row[name].strip()
    ]


FORMAT = RowFormat(
    name="deepmath",
    columns="question, final_answer, difficulty, topic, r1_solution_1..3",
    detect=lambda row: "question" in row and "final_answer" in row,
    question=_question,
    traces=_traces,
    hub=Hub("zwhe99/DeepMath-103K", rows=103022, licence="MIT"),
)
