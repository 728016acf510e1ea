"""OpenThoughts3-1.2M: difficulty, source, domain, conversations, with the thinking in `<think>` tags."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from . import Hub, RowFormat, Trace
from .openthoughts import thought_and_solution, turns


def _question(row: Mapping[str, Any]) -> tuple[str, str | None]:
    from ...answers.extract import extract_answer

    question, reply = turns(row)
    return question, extract_answer(reply)


def _traces(row: Mapping[str, Any]) -> list[Trace]:
    from ...answers.extract import extract_answer

    question, reply = turns(row)
    think, solution = thought_and_solution(reply)
    return [Trace(question, think, extract_answer(solution))]


FORMAT = RowFormat(
    name="openthoughts3",
    columns="difficulty, source, domain, conversations (thinking in <think> tags)",
    detect=lambda row: "conversations" in row and "domain" in row,
    question=_question,
    traces=_traces,
    hub=Hub("open-thoughts/OpenThoughts3-1.2M", rows=1200000, licence="Apache-2.0"),
)
