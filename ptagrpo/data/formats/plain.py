"""Any row with a question and an answer under the usual names: what is tried when nothing else fits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..columns import (
    ANSWER_COLUMNS,
    PROMPT_COLUMNS,
    THINK_COLUMNS,
    answer_text,
    first_column,
    prompt_value,
    reasoning_text,
    require_text,
)
from . import RowFormat, Trace


def _question(row: Mapping[str, Any]) -> tuple[str | list, str | None]:
    """A worked solution in the answer's place counts by its boxed answer."""
    name = first_column(row, ANSWER_COLUMNS)
    if name is None:
        return prompt_value(row), None
    answer = answer_text(row[name])
    if "\\boxed" in answer:
        from ...answers.extract import extract_answer

        answer = extract_answer(answer) or answer
    return prompt_value(row), answer


def _traces(row: Mapping[str, Any]) -> list[Trace]:
    """The reasoning is the think column, the answer its own column or, failing that, read out of the
    reasoning."""
    from ...answers.extract import extract_answer

    question = require_text(row, PROMPT_COLUMNS, "the question")
    worked = require_text(row, THINK_COLUMNS, "the worked solution")
    name = first_column(row, tuple(n for n in ANSWER_COLUMNS if n != first_column(row, THINK_COLUMNS)))
    answer = answer_text(row[name]) if name else extract_answer(worked)
    return [Trace(question, reasoning_text(worked), answer)]


FORMAT = RowFormat(
    name="plain",
    columns="prompt | question | problem, answer | ground_truth | solution, and image | images; "
    "traces: think | reasoning | solution",
    detect=lambda row: True,
    question=_question,
    traces=_traces,
    image_columns=("image", "images"),
)
