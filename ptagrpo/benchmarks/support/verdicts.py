"""Verdicts on options and open answers, ours and the published ones, for the benchmarks that share them."""

from __future__ import annotations

import random
import re
from decimal import Decimal, InvalidOperation

from ...answers import Judge, Verdict, extract_answer
from ...answers.choices import stated_choice
from ...answers.extract import last_boxed, marked_answer
from ...answers.official import open_is_right, parse_choice, parse_open
from ...records import Question
from .options import row_options

SHORT_ANSWER = 12  # words; an open response of one line that is no longer is itself the answer
_COMMAND = re.compile(r"\\[A-Za-z]+")
_ALONE = re.compile(r"(?<![A-Za-z])[A-Z](?![A-Za-z])")
OFFICIAL_SEED = 42  # of the guesses of MMMU's official evaluation


def grade_choice(question: Question, response: str, judge: Judge | None = None) -> Verdict:
    """Ours: the option that the response states (`answers.choices`), and never a guess."""
    choice = stated_choice(response, question.columns["choices"])
    if choice.text is None:
        return Verdict("no_answer", None, "the response states no option")
    extracted = choice.letter or choice.text
    return Verdict(
        "correct" if choice.letter == question.answer else "wrong", extracted, f"option, {choice.rule}"
    )


def grade_choice_or_open(question: Question, response: str, judge: Judge) -> Verdict:
    """Ours: `grade_choice` where there are options; else the stated answer against each reference answer."""
    if question.columns["choices"]:
        return grade_choice(question, response)
    stated = extract_answer(response)
    if stated is None and "\n" not in response.strip() and 0 < len(response.split()) <= SHORT_ANSWER:
        stated = response.strip()
    if stated is None:
        return Verdict("no_answer", None, "the response states no answer")
    golds = question.columns.get("golds") or [question.answer]
    if any(rounds_to(stated, gold) for gold in golds):
        return Verdict("correct", stated, "equal at the decimals of the reference answer")
    verdicts = judge.judge_extracted([(stated, gold) for gold in golds])
    return next((verdict for verdict in verdicts if verdict.correct), verdicts[0])


def rounds_to(stated: str, gold: str) -> bool:
    """Whether a decimal number, rounded to as many decimals as the reference answer has, equals it.

    >>> rounds_to("12.974", "12.97"), rounds_to("13", "12.97"), rounds_to("$1,000", "1000")
    (True, False, True)
    """
    try:
        reference = Decimal(gold.replace(",", ""))
        value = Decimal(stated.strip(" $€£").replace(",", ""))
        return value.is_finite() and value.quantize(reference) == reference
    except InvalidOperation:
        return False


def official_mmmu(
    question: Question, response: str, generator: random.Random, version: str = "mmmu"
) -> Verdict:
    """The published verdict of MMMU and MMMU-Pro; without a candidate the option is a guess of `generator`."""
    choices = row_options(question.columns, unwrap=False)
    if choices:
        parsed = parse_choice(response, choices, generator, version)
        status = "correct" if parsed.letter == question.answer else "wrong"
        return Verdict(
            status, parsed.letter, f"official, {parsed.rule}{', last of several' * parsed.several}"
        )
    candidates = parse_open(response)
    right = open_is_right(candidates, question.columns.get("golds") or [question.answer or ""])
    extracted = " | ".join(map(str, candidates))
    return Verdict("correct" if right else "wrong", extracted, "official, open")


def official_mmmu_pro(question: Question, response: str, generator: random.Random) -> Verdict:
    """`official_mmmu` with MMMU-Pro's rules."""
    return official_mmmu(question, response, generator, "mmmu_pro")


def official_boxed(question: Question, response: str, generator: random.Random | None = None) -> Verdict:
    """The published rule of EMMA: what the last box holds. A letter must be the reference letter; an open answer must
    be the same text, or the same number at two decimals."""
    return _official_marked(question, last_boxed(response))


def official_boxed_or_tagged(
    question: Question, response: str, generator: random.Random | None = None
) -> Verdict:
    """The published rule of MMK12: the letter in the last box, else in the answer tag."""
    return _official_marked(question, last_boxed(response) or marked_answer(response))


def _official_marked(question: Question, content: str | None) -> Verdict:
    if content is None:
        return Verdict("no_answer", None, "official, no box")
    if question.columns["choices"]:
        letter = _ALONE.search(_COMMAND.sub(" ", content))
        found = letter.group() if letter else content
        return Verdict("correct" if found == question.answer else "wrong", found, "official, option")
    same = any(_same_open(content, gold) for gold in question.columns.get("golds") or [question.answer or ""])
    return Verdict("correct" if same else "wrong", content, "official, open")


def _same_open(content: str, gold: str) -> bool:
    texts = [re.sub(r"\s+", " ", text.strip().strip("$").strip(".")).lower() for text in (content, gold)]
    if texts[0] == texts[1]:
        return True
    try:
        return round(float(texts[0].replace(",", "")), 2) == round(float(texts[1].replace(",", "")), 2)
    except (ValueError, OverflowError):
        return False
