"""OpenThoughts and its relatives: a question, a long thinking trajectory, a final solution.

Four schemas occur: `conversations` with `<|begin_of_thought|>…` markers (OpenThoughts-114k) or `<think>` tags
(OpenThoughts3); `problem, deepseek_reasoning, deepseek_solution, ground_truth_solution` (its metadata); and
`question, *thinking_trajectory, *attempt, solution` (s1K and curator data sets).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ..columns import require_text
from . import Hub, RowFormat, Trace

_MARKED = re.compile(
    r"(?:<\|begin_of_thought\|>|<think>)(?P<think>.*?)(?:<\|end_of_thought\|>|</think>)(?P<rest>.*)",
    re.DOTALL,
)
_SOLUTION = re.compile(r"<\|begin_of_solution\|>(.*?)(?:<\|end_of_solution\|>|$)", re.DOTALL)


_TRAJECTORY = re.compile(r"thinking_trajector(y|ies)$")
_ATTEMPT = re.compile(r"attempts?$")


def _named(row: Mapping[str, Any], name_pattern: re.Pattern[str]) -> str | None:
    """The text in the first column whose name fits (of a list its first element)."""
    for name in sorted(row, key=str):
        if name_pattern.search(str(name)):
            value = row[name][0] if isinstance(row[name], list) and row[name] else row[name]
            if isinstance(value, str) and value.strip():
                return value
    return None


def _conversation(row: Mapping[str, Any]) -> tuple[str, str, str]:
    turns = row["conversations"]
    if not isinstance(turns, list) or len(turns) < 2:
        raise ValueError("expected 'conversations' to be a list of at least two turns {'from', 'value'}")
    texts = [
        turn.get("value", turn.get("content")) if isinstance(turn, Mapping) else None for turn in turns[:2]
    ]
    if not all(isinstance(text, str) for text in texts):
        raise ValueError("expected each turn of 'conversations' as {'from': ..., 'value': text}")
    match = _MARKED.search(texts[1])
    if match is None:
        raise ValueError("expected the reply to hold its thought in <|begin_of_thought|> or <think> markers")
    solution = _SOLUTION.search(match["rest"])
    return texts[0], match["think"].strip(), (solution[1] if solution else match["rest"]).strip()


def _parts(row: Mapping[str, Any]) -> tuple[str, str, str]:
    """(question, thinking, final solution)."""
    if "conversations" in row:
        return _conversation(row)
    question = require_text(row, ("question", "problem"), "the question")
    think = row.get("deepseek_reasoning") or _named(row, _TRAJECTORY)
    if not isinstance(think, str) or not think.strip():
        raise ValueError(
            "expected the thinking in a column 'deepseek_reasoning' or '*thinking_trajectory'; "
            f"the row has {sorted(map(str, row))}"
        )
    final = row.get("deepseek_solution") or _named(row, _ATTEMPT) or row.get("ground_truth_solution")
    return question, think.strip(), (final or row.get("solution") or "").strip()


def _traces(row: Mapping[str, Any]) -> list[Trace]:
    from ...answers.extract import extract_answer

    question, think, final = _parts(row)
    answer = extract_answer(final)
    return [Trace(question.strip(), think, answer)] if answer else []


def _question(row: Mapping[str, Any]) -> tuple[str, str]:
    from ...answers.extract import extract_answer

    question, _, final = _parts(row)
    gold = row.get("ground_truth_solution") or row.get("solution") or final
    answer = extract_answer(gold) or (gold.strip() if len(gold) <= 40 else None)
    if answer is None:
        raise ValueError("no final answer in the solution (a proof?): such a row cannot be an RL question")
    return question.strip(), answer


FORMAT = RowFormat(
    name="openthoughts",
    columns="conversations | problem, deepseek_reasoning, deepseek_solution | "
    "question, *thinking_trajectory, *attempt",
    detect=lambda row: (
        "conversations" in row
        or "deepseek_reasoning" in row
        or any("thinking_trajector" in str(name) for name in row)
    ),
    question=_question,
    traces=_traces,
    hub=Hub("open-thoughts/OpenThoughts-114k"),
)
