"""Traces as Qwen2.5-Math's evaluation writes them: question, gt, code (k responses), pred, score (verdicts)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..columns import answer_text, reasoning_text, require, require_text
from . import RowFormat, Trace


def _question(row: Mapping[str, Any]) -> tuple[str, str]:
    return require_text(row, ("question",), "the question"), answer_text(
        require(row, ("gt", "answer"), "the answer")
    )


def _traces(row: Mapping[str, Any]) -> list[Trace]:
    question, reference = _question(row)
    lists = {
        name: require(row, (name,), what)
        for name, what in (("code", "the responses"), ("pred", "their answers"), ("score", "their verdicts"))
    }
    for name, values in lists.items():
        if not isinstance(values, (list, tuple)) or len(values) != len(lists["code"]):
            raise ValueError(f"expected column '{name}' to be a list as long as 'code'")
    traces = []
    for response, predicted, correct in zip(lists["code"], lists["pred"], lists["score"], strict=True):
        if not isinstance(response, str) or not isinstance(correct, bool):
            raise ValueError("expected 'code' to hold texts and 'score' to hold true or false")
        if not response.strip():
            continue
        stated = answer_text(predicted) if str(predicted).strip() else None
        traces.append(Trace(question, reasoning_text(response), stated, correct, reference))
    return traces


FORMAT = RowFormat(
    name="math_cot",
    columns="question, gt, code (list of responses), pred (list), score (list of true/false)",
    detect=lambda row: (
        {"question", "gt", "code", "pred", "score"} <= set(row) and isinstance(row["code"], list)
    ),
    question=_question,
    traces=_traces,
)
