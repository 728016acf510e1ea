"""Columns by the names people give them: looking one up, renaming by a mapping, reading an answer as text."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from ..errors import did_you_mean

PROMPT_COLUMNS = ("prompt", "question", "problem", "query", "instruction")
ANSWER_COLUMNS = ("answer", "ground_truth", "final_answer", "gt", "solution")
THINK_COLUMNS = ("think", "cot", "reasoning", "thinking", "solution", "response")
ID_COLUMNS = ("id", "unique_id", "question_id", "idx", "uid")


def first_column(row: Mapping[str, Any], names: tuple[str, ...]) -> str | None:
    """The first of `names` that `row` has with a value other than None."""
    return next((name for name in names if row.get(name) is not None), None)


def require(row: Mapping[str, Any], names: tuple[str, ...], what: str) -> Any:
    """The value of the first of `names` that `row` has.

    Raises:
        ValueError: none is there; says what was expected and which columns there are.
    """
    name = first_column(row, names)
    if name is None:
        raise ValueError(
            f"expected {what} in a column named {' or '.join(repr(n) for n in names)}; "
            f"the row has {sorted(map(str, row)) or 'no columns'}"
        )
    return row[name]


def require_text(row: Mapping[str, Any], names: tuple[str, ...], what: str) -> str:
    """`require`, and the value must be text that is not blank."""
    value = require(row, names, what)
    name = first_column(row, names)
    if not isinstance(value, str):
        raise ValueError(
            f"expected {what} as text in column '{name}', got {type(value).__name__}: {str(value)[:60]!r}"
        )
    if not value.strip():
        raise ValueError(f"expected {what} in column '{name}', found blank text")
    return value


def answer_text(value: Any) -> str:
    """A reference answer as text: 27.0 → "27", 0.5 → "0.5", text is stripped.

    Raises:
        ValueError: not text, a finite number or a truth value; or blank.

    >>> answer_text(27.0), answer_text(" x^2 "), answer_text(3)
    ('27', 'x^2', '3')
    """
    if isinstance(value, str):
        if not value.strip():
            raise ValueError("expected a reference answer, found blank text")
        return value.strip()
    if isinstance(value, float) and math.isfinite(value):
        return str(int(value)) if value.is_integer() and abs(value) < 2**53 else repr(value)
    if isinstance(value, (bool, int)):
        return str(value)
    raise ValueError(
        f"expected the answer as text or as a finite number, got {type(value).__name__}: {str(value)[:60]!r}"
    )


def answer_or_none(row: Mapping[str, Any], names: tuple[str, ...] = ("answer",)) -> str | None:
    """The reference answer of a row, or None where it is null or blank.

    Raises:
        ValueError: no such column at all, or a value that is no answer (see `answer_text`).
    """
    present = [name for name in names if name in row]
    if not present:
        require(row, names, "the answer")
    value = row[present[0]]
    return None if value is None or (isinstance(value, str) and not value.strip()) else answer_text(value)


def is_messages(value: Any) -> bool:
    """True for a chat: a non-empty list of {"role": text, "content": ...}."""
    return (
        isinstance(value, (list, tuple))
        and len(value) > 0
        and all(isinstance(m, Mapping) and isinstance(m.get("role"), str) and "content" in m for m in value)
    )


def prompt_value(row: Mapping[str, Any]) -> str | list[dict[str, Any]]:
    """The prompt of a row: text, or chat messages."""
    value = require(row, PROMPT_COLUMNS, "the question")
    if is_messages(value):
        return [dict(message) for message in value]
    if isinstance(value, (list, tuple)):
        raise ValueError(
            "expected the prompt as text or as messages [{'role': ..., 'content': ...}], "
            f"got a list: {str(value)[:60]!r}"
        )
    return require_text(row, PROMPT_COLUMNS, "the question")


_THOUGHT = re.compile(r"\s*(?:<think>)?(.*?)</think>", re.DOTALL)


def reasoning_text(response: str) -> str:
    """What a response says between its think tags (the opening one may be missing); all of it where there
    are none.

    >>> reasoning_text("<think> add them </think> 2"), reasoning_text("add them")
    ('add them', 'add them')
    """
    thought = _THOUGHT.match(response)
    return (thought[1] if thought else response.replace("<think>", "")).strip()


def rename(row: Mapping[str, Any], mapping: Mapping[str, str]) -> dict[str, Any]:
    """Apply a column mapping {our name: the data set's name}; other columns stay as they are.

    Raises:
        ValueError: a named column is not in the row.

    >>> rename({"q": "1+1?", "gold": 2}, {"question": "q", "answer": "gold"})
    {'question': '1+1?', 'answer': 2}
    """
    for ours, theirs in mapping.items():
        if theirs not in row:
            raise ValueError(
                f"column '{theirs}' (mapped to '{ours}') is not in the row, which has "
                f"{sorted(map(str, row))}.{did_you_mean(theirs, map(str, row))}"
            )
    taken = set(mapping.values())
    renamed = {ours: row[theirs] for ours, theirs in mapping.items()}
    renamed.update({name: value for name, value in row.items() if name not in taken and name not in renamed})
    return renamed
