"""Does a plan give the final answer away? Used where plans are bought from a teacher and where a policy writes
them."""

from __future__ import annotations

import re

from .normalize import clean
from .rational import parse_number

_LATEX = re.compile(r"\\(?:left|right|displaystyle|,|;|!|quad)(?![A-Za-z])")
_ASSERTS = (
    r"(?:=|≈|\\approx|\bis|\bare|\bequals?|\bgives?|\byields?|\bget|\b(?:answer|result)\b[^.\n]{0,20}?)"
)
_NUMBER = re.compile(
    r"(?<![\w.^/\\])[-+]?(?:\\frac\{\d+\}\{\d+\}|\d+(?:\.\d+)?(?:/\d+)?)\\?%?(?![\w^/]|\.\d)"
)


def states_answer(plan: str, question: str, answer: str) -> str | None:
    """The words of `plan` that give `answer` away, or None.

    A boxed text always does. A distinctive answer (more than two characters, not in the question) does
    wherever it stands as a word of its own. A short one ("2", "x") also numbers steps and names variables, so
    it counts only where it is asserted ("= 2", "is 2", "the answer, 2"). A number of the same value counts as the
    answer ("0.5" and "1/2").
    """
    if "\\boxed" in plan:
        return "\\boxed"
    text, wanted = _plain(plan), _plain(answer)
    if not wanted:
        return None
    asked = _plain(question)
    known = re.search(_whole(wanted), asked) is not None or bool(_same_value(asked, answer))
    spellings = dict.fromkeys([wanted, *_same_value(text, answer)])
    return next((found for spelling in spellings if (found := _given_away(text, spelling, known))), None)


def _whole(wanted: str) -> str:
    """A pattern for `wanted` as a word of its own."""
    return rf"(?<![\w.^/\\]){re.escape(wanted)}(?![\w^/]|\.\d)"


def _given_away(plan: str, wanted: str, known: bool) -> str | None:
    """Where `plan` has `wanted`: asserted, or at all where it is distinctive and not `known` from the question."""
    asserted = re.search(rf"{_ASSERTS}\s*{_whole(wanted)}", plan, re.IGNORECASE)
    if asserted:
        return asserted[0].strip()
    found = re.search(_whole(wanted), plan) if len(wanted) > 2 and not known else None
    return found[0] if found else None


def _same_value(text: str, answer: str) -> list[str]:
    """The numbers of a text that have the value of `answer`, as they are written there."""
    gold = parse_number(clean(answer))
    if gold is None:
        return []
    written = [match[0] for match in _NUMBER.finditer(text)]
    return [
        number
        for number in written
        if (value := parse_number(clean(number))) is not None and value.value == gold.value
    ]


def _plain(text: str) -> str:
    """Mathematics without dollars, spacing commands and bold; single spaces; `1,000` as `1000`."""
    text = _LATEX.sub(" ", text.replace("$", " ").replace("**", "").replace("\\(", " ").replace("\\)", " "))
    text = text.replace("\\dfrac", "\\frac").replace("\\tfrac", "\\frac")
    text = re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", text)
    return " ".join(text.split())
