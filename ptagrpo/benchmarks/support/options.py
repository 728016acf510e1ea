"""Options of multiple-choice questions: from a row to letters and texts, and into a prompt."""

from __future__ import annotations

import ast
import re
import string
from collections.abc import Mapping
from typing import Any

LETTERS = string.ascii_uppercase
_LINE = re.compile(r"^[ \t]*\(?([A-H])[ \t]*[.):．、）](.*)$", re.MULTILINE)


def parse_options(value: Any, *, unwrap: bool = True) -> list[str]:
    """The texts of a row's options: a list, or a Python list written as text (as MMMU has them).

    Args:
        unwrap: `[["A", "B"]]` has two options (MMMU-Pro has one such row); without it, one.

    Raises:
        ValueError: not a list, not readable as one, or more options than letters.

    >>> parse_options("['a cat', 'a dog']")
    ['a cat', 'a dog']
    """
    options = value
    if isinstance(value, str):
        try:
            options = ast.literal_eval(value.strip() or "[]")
        except (ValueError, SyntaxError, RecursionError, MemoryError) as error:
            raise ValueError(f"options do not parse: expected a list, got {value!r:.80}") from error
    if options is None:
        return []
    if not isinstance(options, (list, tuple)):
        raise ValueError(f"options do not parse: expected a list, got {value!r:.80}")
    if unwrap and len(options) == 1 and isinstance(options[0], (list, tuple)):
        options = options[0]
    if len(options) > len(LETTERS):
        raise ValueError(
            f"options do not parse: {len(options)} options, at most {len(LETTERS)} have a letter"
        )
    return [str(option) for option in options]


def row_options(row: Mapping[str, Any], *, unwrap: bool = True) -> dict[str, str]:
    """Letter to text of a row's `options`, or of its `index2ans` (as MMMU's files of responses have them).

    Raises:
        ValueError: they do not parse.
    """
    mapping = row.get("index2ans")
    if row.get("options") is None and isinstance(mapping, Mapping):
        if not all(letter in set(LETTERS) for letter in mapping):
            raise ValueError(
                f"options do not parse: expected letters in index2ans, got {sorted(mapping)!r:.80}"
            )
        return {letter: str(text) for letter, text in mapping.items()}
    return lettered(parse_options(row.get("options"), unwrap=unwrap))


def lettered(options: list[str]) -> dict[str, str]:
    """Letter to text.

    >>> lettered(["x", "y"])
    {'A': 'x', 'B': 'y'}
    """
    return dict(zip(LETTERS, options, strict=False))


def options_in_text(question: str) -> dict[str, str]:
    r"""Options that stand in the question itself, a line each (`A. text`), from A on without a gap.

    >>> options_in_text("Which one?\nA. red\nB. blue")
    {'A': 'red', 'B': 'blue'}
    """
    found = {match.group(1): match.group(2).strip() for match in _LINE.finditer(question)}
    count = next((n for n in range(len(found) + 1) if LETTERS[n] not in found), 0)
    return {letter: found[letter] for letter in LETTERS[:count]}


def letter_answer(value: Any, choices: Mapping[str, str]) -> str:
    """A reference answer that is the letter of an option.

    Raises:
        ValueError: it is not one of the letters.
    """
    letter = value.strip() if isinstance(value, str) else value
    if letter not in choices:
        raise ValueError(f"expected an answer among {', '.join(choices)}, got {value!r:.80}")
    return str(letter)


def option_lines(choices: Mapping[str, str], form: str) -> str:
    """The options as lines.

    >>> option_lines({"A": "x", "B": "y"}, "({}) {}")
    '(A) x\\n(B) y'
    """
    return "\n".join(form.format(letter, text) for letter, text in choices.items())


def required_text(row: Mapping[str, Any], name: str) -> str:
    """The text of a column.

    Raises:
        ValueError: it is missing, empty or not text.
    """
    value = row.get(name)
    if not isinstance(value, str) or not value.strip():
        shown = f"got {value!r:.80}" if name in row else f"the row has {sorted(row)}"
        raise ValueError(f"expected text in '{name}', {shown}")
    return value
