r"""Find the final answer that a response states. Nothing is computed or guessed: no statement, no answer.

The rules, first match wins (`docs/grading.md` gives the reasons):

1. a `\boxed{...}` inside or after the last `<answer>` tag; the last one with balanced braces and content;
2. the text of the last closed `<answer>...</answer>` pair;
3. the last balanced `\boxed{...}` (or `\fbox{...}`, or `\boxed 5` as older MATH solutions write) anywhere;
4. the last `#### N` line (GSM8K);
5. the last "answer is ..." / "answer: ..." that is followed at once by mathematics in dollars or `\(...\)`, a
   number, or a single choice letter.
"""

from __future__ import annotations

import re

KINDS = ("math", "exact")

_BOX = re.compile(r"\\f?boxed\b|\\fbox\b")
_BRACES = re.compile(r"\\.|[{}]", re.DOTALL)
_BARE = re.compile(r"\s*([-+]?[0-9][0-9.,/]*|\\pi|[A-Za-z])(?![A-Za-z0-9])")
_TAG = re.compile(r"<(/?)answer>", re.IGNORECASE)
_HASHES = re.compile(r"^[ \t]*####[ \t]*(\S[^\n]*)", re.MULTILINE)
_STATED = re.compile(
    r"\banswer(?:\s+is|\s*:)\s*(?:\*\*|:)?\s*"
    r"(?:\$\$?(?P<dollar>[^$\n]{1,500})\$"
    r"|\\\((?P<paren>.{1,500}?)\\\)"
    r"|\\\[(?P<bracket>.{1,500}?)\\\]"
    r"|(?P<number>[-+]?\$?(?:\d[\d,]*(?:\.\d+)?|\.\d+)(?:/\d+)?%?)(?![\w^/*+=]|\.\d|\s*[-+*/^=]\s*[\w\\(])"
    r"|\(?(?P<letter>[A-J])\)?(?=[\s.,*)]|$))",
    re.IGNORECASE | re.DOTALL,
)


def closing_braces(text: str) -> dict[int, int]:
    r"""Where each `{` of `text` closes: index of the `{` to index of its `}`, in one pass. `\{` and `\}` are
    characters.

    >>> closing_braces(r"{a{b}\}c} {")
    {2: 4, 0: 8}
    """
    closes: dict[int, int] = {}
    stack: list[int] = []
    for match in _BRACES.finditer(text):
        if match.group(0) == "{":
            stack.append(match.start())
        elif match.group(0) == "}" and stack:
            closes[stack.pop()] = match.start()
    return closes


def last_boxed(text: str) -> str | None:
    r"""Content of the last box with balanced braces and something in it, or None. A box in a box gives the
    inner one.

    >>> last_boxed(r"so \boxed{\frac{1}{2}} and then \boxed{unfinished")
    '\\frac{1}{2}'
    """
    closes = closing_braces(text)
    for match in reversed(list(_BOX.finditer(text))):
        position = match.end()
        while position < len(text) and text[position] in " \t\n":
            position += 1
        if position < len(text) and text[position] == "{":
            content = text[position + 1 : closes[position]].strip() if position in closes else ""
        else:
            bare = _BARE.match(text, match.end())
            content = bare.group(1).rstrip(".,/") if bare else ""
        if content:
            return content
    return None


def _tagged(text: str) -> tuple[int, str | None]:
    """Where the last `<answer>` opens (-1: nowhere), and the text of the last closed pair."""
    opened, last_open, content = -1, -1, None
    for match in _TAG.finditer(text):
        if not match.group(1):
            opened = last_open = match.end()
        elif opened >= 0:
            content = text[opened : match.start()].strip() or None
            opened = -1
    return last_open, content


def _stated(text: str) -> str | None:
    matches = list(_STATED.finditer(text))
    if not matches:
        return None
    groups = matches[-1].groupdict()
    letter = groups.pop("letter")
    if letter is not None:  # "the answer is a ..." is prose; a choice is a capital letter
        return letter if letter.isupper() else None
    return next((value.strip() for value in groups.values() if value), None)


def marked_answer(text: str) -> str | None:
    r"""The answer that a box or an `<answer>` pair marks (rules 1 to 3), as written, or None.

    >>> marked_answer(r"<answer> (B) </answer>"), marked_answer(r"so \boxed{B}."), marked_answer("B")
    ('(B)', 'B', None)
    """
    opened, tagged = _tagged(text)
    if opened >= 0:
        boxed = last_boxed(text[opened:])
        if boxed is not None:
            return boxed
    return last_boxed(text) if tagged is None else tagged


def extract_answer(text: str, kind: str = "math") -> str | None:
    r"""Return the answer that the response `text` states, as written (LaTeX or text), or None.

    Args:
        text: a response, with or without the `<plan> <think> <answer>` template.
        kind: "math" or "exact". Both use the rules above.

    Raises:
        ValueError: `kind` is something else.

    >>> extract_answer(r"<think>1+1</think> <answer> \boxed{2} </answer>")
    '2'
    >>> extract_answer("It is probably large.") is None
    True
    """
    if kind not in KINDS:
        raise ValueError(f"extract_answer: kind is {kind!r}, expected one of {', '.join(map(repr, KINDS))}")
    marked = marked_answer(text)
    if marked is not None:
        return marked
    hashes = _HASHES.findall(text)
    if hashes:
        return hashes[-1].rstrip()
    return _stated(text)
