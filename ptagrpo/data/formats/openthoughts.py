"""OpenThoughts-114k and its relatives: a question, a long thinking trajectory, a final solution.

Three schemas occur: `system, conversations` with `<|begin_of_thought|>…` markers (its default configuration);
`problem, deepseek_reasoning, deepseek_solution, ground_truth_solution, domain, source` (its configuration
`metadata`); and `question, *thinking_trajectory, *attempt, solution` (s1K and curator data sets).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ..columns import require_text
from . import Hub, RowFormat, Trace, Unusable

_MARKED = re.compile(
    r"(?:<\|begin_of_thought\|>|<think>)(?P<think>.*?)(?:<\|end_of_thought\|>|</think>)(?P<rest>.*)",
    re.DOTALL,
)
_SOLUTION = re.compile(r"<\|begin_of_solution\|>(.*?)(?:<\|end_of_solution\|>|$)", re.DOTALL)
_TRAJECTORY = re.compile(r"thinking_trajector(y|ies)$")
_ATTEMPT = re.compile(r"attempts?$")
SHORT = 40  # characters of a reference solution that is itself an answer


def _named(row: Mapping[str, Any], name_pattern: re.Pattern[str]) -> str | None:
    """The text in the first column whose name fits (of a list its first element)."""
    for name in sorted(row, key=str):
        if name_pattern.search(str(name)):
            value = row[name][0] if isinstance(row[name], list) and row[name] else row[name]
            if isinstance(value, str) and value.strip():
                return value
    return None


def turns(row: Mapping[str, Any]) -> tuple[str, str]:
    """The question and the reply of a row with `conversations`.

    Raises:
        ValueError: the column does not hold two turns with text.
    """
    conversation = row["conversations"]
    if not isinstance(conversation, list) or len(conversation) < 2:
        raise ValueError("expected 'conversations' to be a list of at least two turns {'from', 'value'}")
    texts = [
        turn.get("value", turn.get("content")) if isinstance(turn, Mapping) else None
        for turn in conversation[:2]
    ]
    if not all(isinstance(text, str) and text.strip() for text in texts):
        raise ValueError("expected each turn of 'conversations' as {'from': ..., 'value': text}")
    return texts[0].strip(), texts[1]


def thought_and_solution(reply: str) -> tuple[str, str]:
    """What stands between the markers of the thought, and the solution after it.

    Raises:
        Unusable: no such markers, or the thought is never closed (a reply that was cut off), or empty.

    >>> thought_and_solution("<think> add </think> It is 2.")
    ('add', 'It is 2.')
    """
    match = _MARKED.search(reply)
    if match is None or not match["think"].strip():
        raise Unusable(
            "the reply holds no thought in <|begin_of_thought|> or <think> markers, closed and not empty"
        )
    solution = _SOLUTION.search(match["rest"])
    return match["think"].strip(), (solution[1] if solution else match["rest"]).strip()


def _parts(row: Mapping[str, Any]) -> tuple[str, str, str]:
    """(question, thinking, final solution)."""
    if "conversations" in row:
        question, reply = turns(row)
        return question, *thought_and_solution(reply)
    question = require_text(row, ("question", "problem"), "the question").strip()
    think = row.get("deepseek_reasoning") or _named(row, _TRAJECTORY)
    if not isinstance(think, str) or not think.strip():
        raise ValueError(
            "expected the thinking in a column 'deepseek_reasoning' or '*thinking_trajectory'; "
            f"the row has {sorted(map(str, row))}"
        )
    final = row.get("deepseek_solution") or _named(row, _ATTEMPT)
    return question, think.strip(), (final or _reference_solution(row) or "").strip()


def _reference_solution(row: Mapping[str, Any]) -> str | None:
    return row.get("ground_truth_solution") or row.get("solution")


def _reference(row: Mapping[str, Any]) -> str | None:
    """The answer in the data set's own solution; None where there is none (a proof, a program)."""
    from ...answers.extract import extract_answer

    gold = _reference_solution(row)
    if not isinstance(gold, str) or not gold.strip():
        return None
    return extract_answer(gold) or (gold.strip() if len(gold.strip()) <= SHORT else None)


def _traces(row: Mapping[str, Any]) -> list[Trace]:
    from ...answers.extract import extract_answer

    question, think, final = _parts(row)
    return [Trace(question, think, extract_answer(final), reference=_reference(row))]


def _question(row: Mapping[str, Any]) -> tuple[str, str | None]:
    from ...answers.extract import extract_answer

    if "conversations" in row:
        question, reply = turns(row)
        return question, extract_answer(reply)
    question, _, final = _parts(row)
    return question, _reference(row) or extract_answer(final)


FORMAT = RowFormat(
    name="openthoughts",
    columns="conversations | problem, deepseek_reasoning, deepseek_solution | "
    "question, *thinking_trajectory, *attempt",
    detect=lambda row: (
        ("conversations" in row and "domain" not in row)
        or "deepseek_reasoning" in row
        or any("thinking_trajector" in str(name) for name in row)
    ),
    question=_question,
    traces=_traces,
    hub=Hub("open-thoughts/OpenThoughts-114k", rows=113957, licence="Apache-2.0"),
)
