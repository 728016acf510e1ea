r"""Which option of a multiple-choice question a response states. Nothing is guessed: no statement, no answer.

The rules, first match wins (`docs/grading.md` gives the reasons):

1. a `\boxed{...}` or `<answer>...</answer>` (as for mathematics): its content is a letter, or an option's text;
2. the last "answer is X", "answer: X", "option X", "choice is X" with a letter of the question, or an option's text;
3. a line that is nothing but a letter, the last such line; else lines that open with one (`B. text`, `(B) text`),
   when all of them name the same letter;
4. a response that is an option's text and nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from .extract import marked_answer
from .normalize import normalize_answer

_WRAPPED = re.compile(r"\\(?:text|textbf|mathrm|mathbf|boxed|mbox)\s*\{([^{}]*)\}")
_DECORATION = " \t*_`$\\{}[]()\"'"
_LETTER = re.compile(r"\(?([A-Z])\)?(?:\s*[.:,)\]]|\s+-|$)")
_STATED = re.compile(  # counted repetitions: a response may be one word and a megabyte of blanks
    r"\b(?:answer|option|choice)(?:\s{1,4}(?:is|would be|should be))?[\s*:_`$\\(\[{]{1,24}"
    r"(?:(?:text|mathrm|mathbf|textbf|boxed|option|choice)[\s{(]{1,4}){0,3}"
    r"(?P<letter>[A-Z])(?![A-Za-z0-9'’])(?P<rest>[^\n]{0,2})",
    re.IGNORECASE,
)
_SECOND = re.compile(
    r"[)\\*\s]{0,8}(?:[(\[]|(?:,|&|and\b|or\b)\s{0,4}[(\[]?)([A-Z])[)\]]?(?![A-Za-z0-9'’.:])"
)
_STATED_TEXT = re.compile(
    r"\banswer(?:\s{1,4}is|\s{0,4}\*{0,2}\s{0,4}:)\s{0,4}\*{0,2}\s{0,4}:?(?P<text>[^\n]+)", re.IGNORECASE
)
_BARE_LINE = re.compile(r"[(\[]?([A-Z])[)\].:]?")
_OPENED_LINE = re.compile(r"(?:\(([A-Z])\)|\[([A-Z])\]|([A-Z])[.):])\s*(?!or\b|and\b|[&,/])\S")


@dataclass(frozen=True)
class Choice:
    """What was found. letter: of the question's options, or None. text: the statement as written, or None when
    there is none. rule: "marked", "stated", "line", "text", or "none"."""

    letter: str | None
    text: str | None
    rule: str


NOTHING = Choice(None, None, "none")


def stated_choice(response: str, choices: Mapping[str, str]) -> Choice:
    r"""Find the option that `response` states.

    Args:
        response: a whole response, with or without the `<plan> <think> <answer>` template.
        choices: letter (A, B, ...) to the option's text.

    Returns:
        A `Choice`. A statement that is no option of the question has no letter but a text: it is wrong, not
        missing.

    >>> options = {"A": "a cat", "B": "a dog"}
    >>> [stated_choice(r, options).letter for r in (r"\boxed{B}", "The answer is (A).", "a dog", "A dog runs.")]
    ['B', 'A', 'B', None]
    """
    marked = marked_answer(response)
    if marked is not None:
        return Choice(read_choice(marked, choices), marked, "marked")
    letter = _stated(response, choices)
    if letter is not None:
        return Choice(letter if letter in choices else None, letter, "stated")
    letter = _by_line(response, choices)
    if letter is not None:
        return Choice(letter, letter, "line")
    letter = _by_text(response, choices)
    return NOTHING if letter is None else Choice(letter, response.strip(), "text")


def read_choice(content: str, choices: Mapping[str, str]) -> str | None:
    r"""The letter that the content of a box or an answer tag names: `B`, `(B)`, `\text{B. five}`, or an option's text.

    >>> read_choice(r"\text{(B) five}", {"A": "four", "B": "five"}), read_choice("four", {"A": "four"})
    ('B', 'A')
    """
    plain = _WRAPPED.sub(r"\1", content)
    stripped = plain.strip(_DECORATION + ".,:;")
    if stripped in choices:
        return stripped
    letter = _by_text(plain, choices)
    if letter is not None:
        return letter
    match = _LETTER.match(plain.strip(" \t*_`$\\{}[\"'"))
    if match and match.group(1) in choices:
        return match.group(1)
    if len(stripped) == 1 and stripped.upper() in choices:
        return stripped.upper()
    return None


def _stated(response: str, choices: Mapping[str, str]) -> str | None:
    """The letter of the last statement that has one (perhaps no option of the question), or of its option's text."""
    found = None
    for match in _STATED.finditer(response):
        letter, rest = match.group("letter"), match.group("rest")
        pronoun = letter == "I" and re.match(r" [a-z]", rest)  # "the answer is I think ..."
        foreign = letter not in choices and (not letter.isupper() or rest.strip(_DECORATION + ".,"))
        if not pronoun and not foreign:
            found = None if _SECOND.match(response, match.end("letter")) else letter
    if found is not None:
        return found
    texts = [match.group("text") for match in _STATED_TEXT.finditer(response)]
    return _by_text(texts[-1], choices) if texts else None


def _by_line(response: str, choices: Mapping[str, str]) -> str | None:
    lines = [line.strip(" \t*_`$#>") for line in response.splitlines()]
    bare = [m.group(1) for line in lines if (m := _BARE_LINE.fullmatch(line)) and m.group(1) in choices]
    if bare:
        return bare[-1]
    opened = {
        next(group for group in match.groups() if group)
        for line in lines
        if (match := _OPENED_LINE.match(line))
    }
    if len(opened) != 1:  # none, or a list of the options
        return None
    (letter,) = opened
    return letter if letter in choices else None


def _by_text(text: str, choices: Mapping[str, str]) -> str | None:
    """The only option whose text is `text`, spelling of numbers and letter case aside."""
    wanted = normalize_answer(text, "exact")
    if not wanted:
        return None
    found = [letter for letter, option in choices.items() if normalize_answer(option, "exact") == wanted]
    if not found:
        wanted = normalize_answer(text)
        found = [letter for letter, option in choices.items() if normalize_answer(option) == wanted]
    return found[0] if len(found) == 1 else None
