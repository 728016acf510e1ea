"""The parsers of the official MMMU and MMMU-Pro evaluations, random guesses included, to compare with others' numbers.

Nothing here is ours to improve: each oddity below decides published verdicts. The rules for options are confirmed by
the verdicts on 900 and 3,460 responses (`docs/grading.md`). Those for open answers (the cue words, the forms of
numbers) follow what is known of the published evaluation; the 53 short answers at hand exercise little of them. The
rule that we use by default is in `choices.py`.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_PUNCTUATION = ",.!?;:'"
_FINAL = "Answer:"
_FORMS = {  # what marks a letter, and what is then searched for its last place
    "mmmu": (("({})", "({})"), (" {} ", " {} ")),
    "mmmu_pro": (("({})", "({})"), ("{} ", " {} "), ("{}.", " {} ")),
}
_CUES = ("could be ", "so ", "is ", "thus ", "therefore ", "final ", "answer ", "result ")
_SENTENCES = re.compile(r"\.\s(?=[A-Z])|\n")
_NUMBERS = (
    re.compile(r"-?\b\d{1,3}(?:,\d{3})+\b"),
    re.compile(r"-?\d+(?:\.\d+)?[eE][+-]?\d+"),
    re.compile(r"-?(?:\d+\.\d+|\.\d+|\d+\b)(?![eE][+-]?\d+)(?![,\d])"),
)


@dataclass(frozen=True)
class Parsed:
    """An official parse of a multiple-choice response: the letter, and which rule gave it.

    rule: "final" (MMMU-Pro's `Answer:`), "bracket", "letter", "dot", "text" or "guess".
    several: the rule found more than one letter and took the last one.
    """

    letter: str
    rule: str
    several: bool = False


def parse_choice(
    response: str, choices: Mapping[str, str], generator: random.Random, version: str = "mmmu"
) -> Parsed:
    """The official letter of a multiple-choice response.

    Args:
        choices: letter to the option's text, in order.
        generator: gives the guess where nothing is found; the official evaluation of MMMU seeds it with 42 once.
        version: "mmmu" or "mmmu_pro".

    >>> parse_choice("I am sorry.", {"A": "x", "B": "y"}, random.Random(42)).rule
    'guess'
    """
    if version == "mmmu_pro" and _FINAL in response:
        final = response[response.rindex(_FINAL) + len(_FINAL) :]
        inside = [letter for letter in choices if letter in final]
        if len(inside) == 1:
            return Parsed(inside[0], "final")
    for character in _PUNCTUATION:
        response = response.strip(character)
    response = f" {response} "
    for rule, (form, place) in zip(("bracket", "letter", "dot"), _FORMS[version], strict=False):
        found = [letter for letter in choices if form.format(letter) in response]
        if found:  # a letter whose place is not found counts as before all others, the first of them wins
            last = max(found, key=lambda letter: response.rfind(place.format(letter)))
            return Parsed(last, rule, len(found) > 1)
    if len(response.split()) > 5:
        lowered = response.lower()
        places = {letter: lowered.rfind(text.lower()) for letter, text in choices.items()}
        found = [letter for letter, place in places.items() if place >= 0]
        if found:
            return Parsed(max(found, key=places.__getitem__), "text", len(found) > 1)
    return Parsed(generator.choice(list(choices)), "guess")


def parse_open(response: str) -> list[str | float]:
    """The official candidates of an open response: its answer segments in lower case, and all numbers in them.

    A segment is what follows the last cue word ("is", "so", "answer", ..., in the last sentence also "=") of a
    sentence that has one; without any, the whole response. Numbers are rounded to two decimals; a text of one
    character carries a space. No duplicates; texts and numbers in the order found.

    >>> parse_open("The answer is 36 watts.")
    ['36 watts', 36.0]
    """
    segments = _segments(response)
    texts = [*segments, *(number for segment in segments for number in _numbers(segment))]
    return list(dict.fromkeys(form for text in texts for form in _forms(text)))


def open_is_right(candidates: Sequence[str | float], golds: Sequence[str]) -> bool:
    """The official verdict on an open response: a number equals a gold, or a text contains one."""
    accepted = [form for gold in golds for form in _forms(gold)]
    texts = [form for form in accepted if isinstance(form, str)]
    return any(
        any(text in candidate for text in texts) if isinstance(candidate, str) else candidate in accepted
        for candidate in candidates
    )


def _segments(response: str) -> list[str]:
    response = response.strip().strip(".").lower()
    sentences = _SENTENCES.split(response)  # in lower case only lines are left to split at
    segments = []
    for index, sentence in enumerate(sentences):
        shortest = ""
        for cue in (*_CUES, "=") if index == len(sentences) - 1 else _CUES:
            if cue in sentence:
                tail = sentence.rsplit(cue, 1)[1].strip()
                if not shortest or len(tail) < len(shortest):
                    shortest = tail
        if shortest and shortest not in list(_PUNCTUATION):
            segments.append(shortest)
    return segments or [response]


def _numbers(text: str) -> list[str]:
    return [number for pattern in _NUMBERS for number in pattern.findall(text)]


def _forms(text: str) -> list[str | float]:
    text = text.strip()
    try:
        return [round(float(text.replace(",", "")), 2)]
    except ValueError:
        text = text.lower()
        return [f" {text}", f"{text} "] if len(text) == 1 else [text]
