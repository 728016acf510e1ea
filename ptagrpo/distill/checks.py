"""Is a teacher's reply a usable plan? Cleaning of the reply, and the reasons for refusing it.

A plan that states the final answer would teach the model to skip the reasoning; one with a tag inside would
break the template. Both are refused, never repaired.
"""

from __future__ import annotations

import re

from ..answers.stated import states_answer
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
