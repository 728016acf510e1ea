"""Is a teacher's reply a usable plan? Cleaning of the reply, and the reasons for refusing it.

A plan that states the final answer would teach the model to skip the reasoning; one with a tag inside would
break the template. Both are refused, never repaired.
"""

from __future__ import annotations

import re

from ..answers.normalize import clean
from ..answers.rational import parse_number
from ..parsing import TAGS

_THOUGHT = re.compile(r"^\s*<think>.*?(?:</think>|\Z)", re.DOTALL)
_WRAPPED = re.compile(r"^\s*<plan>(.*?)(?:</plan>\s*)?\Z", re.DOTALL)
_FENCED = re.compile(r"^```\w*\n(.*)\n```\Z", re.DOTALL)
_TITLE = re.compile(r"^(?:#+\s*|\*\*)?plan(?:\*\*)?\s*:?(?:\*\*)?\s*\n+", re.IGNORECASE)
_TAG = re.compile("|".join(re.escape(tag) for tag in TAGS), re.IGNORECASE)


def clean_plan(reply: str) -> str:
    """The plan in a reply: without the teacher's own thoughts before it, a wrapping tag, a code fence or a
    title.

    >>> clean_plan("<think>hm</think><plan>\\n1. Sort.\\n</plan>")
    '1. Sort.'
    """
    text = _THOUGHT.sub("", reply, count=1).strip()
    for wrapping in (_WRAPPED, _FENCED):
        match = wrapping.match(text)
        text = match[1].strip() if match else text
    return _TITLE.sub("", text).strip()


def check_solution(think: str) -> str | None:
    """Why a worked solution cannot become a record, or None."""
    tag = _TAG.search(think)
    return f"the solution contains the tag {tag[0]}" if tag else None


def check_plan(
    plan: str, question: str, answer: str, *, finish_reason: str = "stop", max_words: int = 200
) -> str | None:
    """Why `plan` is refused, or None when it is usable.

    >>> check_plan("Factor, then add the roots.", "Sum of roots of x^2-5x+6?", "5") is None
    True
    >>> check_plan("The sum of the roots is 5.", "Sum of roots of x^2-5x+6?", "5")
    "it states the final answer ('is 5')"
    """
    if not plan.strip():
        return "it is empty"
    if finish_reason == "length":
        return "it was cut off at the token limit"
    if tag := _TAG.search(plan):
        return f"it contains the tag {tag[0]}"
    words = len(plan.split())
    if words > max_words:
        return f"it is too long ({words} words, more than {max_words})"
    stated = states_answer(plan, question, answer)
    return f"it states the final answer ('{stated}')" if stated else None


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
    spellings = dict.fromkeys([wanted, *_same_value(text, answer)])
    return next((found for spelling in spellings if (found := _given_away(text, asked, spelling))), None)


def _given_away(plan: str, question: str, wanted: str) -> str | None:
    whole = rf"(?<![\w.^/\\]){re.escape(wanted)}(?![\w^/]|\.\d)"
    asserted = re.search(rf"{_ASSERTS}\s*{whole}", plan, re.IGNORECASE)
    if asserted:
        return asserted[0].strip()
    if len(wanted) > 2 and not re.search(whole, question):
        found = re.search(whole, plan)
        return found[0] if found else None
    return None


def _same_value(plan: str, answer: str) -> list[str]:
    """The numbers of `plan` that have the value of `answer`, as they are written there."""
    gold = parse_number(clean(answer))
    if gold is None:
        return []
    written = [match[0] for match in _NUMBER.finditer(plan)]
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
