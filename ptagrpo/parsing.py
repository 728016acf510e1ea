"""Reading a response: its plan, reasoning and answer, and whether it strictly follows the template (Eq. 6).

A response is `<plan> … </plan> <think> … </think> <answer> … </answer>`. Two readings live here. The strict
one decides the structure reward: each of the six tags exactly once, in order, bodies that are not blank,
nothing but white space around and between. The lenient one takes out whatever parts can be found, for people,
logs and the plan reward. What an answer is *worth* is not decided here (see `ptagrpo.answers`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

PLAN_OPEN, PLAN_CLOSE = "<plan>", "</plan>"
THINK_OPEN, THINK_CLOSE = "<think>", "</think>"
ANSWER_OPEN, ANSWER_CLOSE = "<answer>", "</answer>"
TAGS = (PLAN_OPEN, PLAN_CLOSE, THINK_OPEN, THINK_CLOSE, ANSWER_OPEN, ANSWER_CLOSE)

_TAG = re.compile("|".join(re.escape(tag) for tag in TAGS))
_BRACE = re.compile(r"\\boxed\s*\{|\\.|[{}]", re.DOTALL)  # a box opens, an escaped character, a brace


@dataclass(frozen=True)
class Parsed:
    """The parts of a response, stripped of surrounding white space; None where a part is missing.

    plan: body of the first `<plan>`; if it is never closed, what stands before the next tag or the end.
    think: body of the first `<think>` after the plan, closed or not, by the same rule.
    answer: the last `\\boxed{…}` inside or after the last `<answer>`, else the body of that tag, else the
        last boxed text of the response; None when empty.
    plan_closed: whether the first `<plan>` is followed by its `</plan>` with no other tag between.
    follows_template: the strict check of Eq. 6, exactly as `follows_template(text)`.
    """

    plan: str | None
    think: str | None
    answer: str | None
    plan_closed: bool
    follows_template: bool


def cut_at_eos(text: str, eos_texts: Iterable[str]) -> str:
    """Return `text` up to the first of `eos_texts`: nothing after the end of a response is ever scored.

    >>> cut_at_eos("<answer>4</answer><|im_end|>junk", ["<|im_end|>"])
    '<answer>4</answer>'
    """
    ends = [text.find(eos) for eos in eos_texts if eos]
    found = [end for end in ends if end >= 0]
    return text[: min(found)] if found else text


def follows_template(text: str) -> bool:
    """Whether `text` strictly follows the template of Eq. 6.

    Each tag exactly once and in order, no blank body, only white space (newlines included) before, between
    and after the three parts.

    >>> follows_template("<plan> Hal Cat </plan> <think> 1 plus 2 </think> <answer> 0 </answer>")
    True
    >>> follows_template("<plan>a</plan><think>b</think><answer>c</answer> so it is c")
    False
    """
    marks = list(_TAG.finditer(text))
    if tuple(mark.group() for mark in marks) != TAGS:
        return False
    edges = [0, *(edge for mark in marks for edge in mark.span()), len(text)]
    stretches = [text[edges[i] : edges[i + 1]] for i in range(0, len(edges), 2)]
    outside, bodies = stretches[0::2], stretches[1::2]
    return not any(part.strip() for part in outside) and all(body.strip() for body in bodies)


def boxed_texts(text: str) -> list[str]:
    """Return the contents of every complete `\\boxed{…}`, in order of their starts, braces balanced.

    >>> boxed_texts(r"so \\boxed{\\frac{1}{2}} and \\boxed{3")
    ['\\\\frac{1}{2}']
    """
    found: list[tuple[int, int]] = []
    open_braces: list[int | None] = []  # where the content of each open brace starts, if it is a box
    for mark in _BRACE.finditer(text):
        if mark.group() == "}":
            start = open_braces.pop() if open_braces else None
            if start is not None:
                found.append((start, mark.start()))
        elif mark.group() == "{":
            open_braces.append(None)
        elif mark.group().endswith("{") and len(mark.group()) > 2:
            open_braces.append(mark.end())
    return [text[start:end] for start, end in sorted(found)]


def _body(text: str, opening: str, start: int = 0) -> tuple[str | None, bool, int]:
    """Body of the first `opening` tag from `start` on, whether its own closing tag ends it, and its end."""
    at = text.find(opening, start)
    if at < 0:
        return None, False, start
    begin = at + len(opening)
    closing = _TAG.search(text, begin)
    end = closing.start() if closing else len(text)
    closed = closing is not None and closing.group() == opening.replace("<", "</", 1)
    return text[begin:end].strip(), closed, end


def parse_response(text: str, eos_texts: Iterable[str] = ()) -> Parsed:
    """Take a response apart, leniently, and check the template, strictly.

    Args:
        text: what the model wrote after the prompt; end-of-sequence text is normally removed already.
        eos_texts: end-of-sequence strings; the response ends at the first one found.

    >>> parsed = parse_response("<plan> a </plan><think> b </think><answer> \\\\boxed{4} </answer>")
    >>> parsed.plan, parsed.answer, parsed.plan_closed, parsed.follows_template
    ('a', '4', True, True)
    """
    text = cut_at_eos(text, eos_texts)
    plan, plan_closed, plan_end = _body(text, PLAN_OPEN)
    think, _, _ = _body(text, THINK_OPEN, plan_end)
    return Parsed(
        plan=plan,
        think=think,
        answer=_answer(text),
        plan_closed=plan_closed,
        follows_template=follows_template(text),
    )


def _answer(text: str) -> str | None:
    at = text.rfind(ANSWER_OPEN)
    boxed = boxed_texts(text[max(at, 0) :])
    if boxed:
        return boxed[-1].strip() or None
    if at < 0:
        return None
    return _body(text, ANSWER_OPEN, at)[0] or None
