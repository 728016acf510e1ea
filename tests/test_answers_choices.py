"""Options: which letter a response states, and the parsers of the official evaluations."""

import random
import time

import pytest
from patience import patience

from ptagrpo.answers.choices import read_choice, stated_choice
from ptagrpo.answers.official import open_is_right, parse_choice, parse_open

ANIMALS = {"A": "a cat", "B": "a dog", "C": "1,000 mice", "D": "none of these", "I": "an ibex"}


@pytest.mark.parametrize(
    ("response", "letter", "rule"),
    [
        (r"<think>(A) or (B)?</think> <answer> \boxed{B} </answer>", "B", "marked"),
        (r"so \boxed{\text{(C)}}", "C", "marked"),
        (r"so \boxed{\text{B. a dog}}", "B", "marked"),
        (r"so \boxed{1000\ \text{mice}} or \boxed{a dog}", "B", "marked"),
        ("<answer>A dog</answer>", "B", "marked"),
        ("<answer>d</answer>", "D", "marked"),
        ("The answer is (C).", "C", "stated"),
        ("The answer is **C**. Not A.", "C", "stated"),
        ("The correct option is A because A is right.", "A", "stated"),
        ("Hence the answer is:\n\n**D**", "D", "stated"),
        (r"Answer: \( \text{C} \)", "C", "stated"),
        ("First I thought the answer is A.\nBut no: the answer is B.", "B", "stated"),
        ("Answer: a dog", "B", "stated"),
        ("**Answer:** D. none of these", "D", "stated"),
        ("I. an ibex", "I", "line"),
        ("B", "B", "line"),
        ("(B)", "B", "line"),
        ("B) a dog", "B", "line"),
        ("Let me see: A has ears.\n\nB", "B", "line"),
        ("a dog", "B", "text"),
        ("1,000 Mice.", "C", "text"),
    ],
)
def test_a_stated_option_is_found(response, letter, rule):
    choice = stated_choice(response, ANIMALS)
    assert (choice.letter, choice.rule) == (letter, rule) and choice.text


@pytest.mark.parametrize(
    "response",
    [
        "",
        "I'm sorry, I can't help with that.",
        "A dog runs with a cat.",
        "I think it could be A or B.",
        "(A) a cat\n(B) a dog\n(C) 1,000 mice",
        "The answer is a matter of taste.",
        "Answer: $LETTER",
        "Answer: (A)(D)",
        "Answer: A and B",
        "Not B",
    ],
)
def test_nothing_is_guessed(response):
    assert stated_choice(response, ANIMALS).text is None


@pytest.mark.parametrize("response", [r"\boxed{42}", r"\boxed{G}", "Answer: G", "<answer>a whale</answer>"])
def test_a_statement_that_is_no_option_is_wrong_and_not_missing(response):
    choice = stated_choice(response, ANIMALS)
    assert choice.letter is None and choice.text


def test_options_with_the_same_text_are_not_told_apart():
    assert read_choice("x", {"A": "x", "B": "x"}) is None
    assert read_choice("A", {"A": "B", "B": "A"}) == "A"  # a letter is a letter first


@pytest.mark.parametrize(
    ("response", "version", "letter", "rule"),
    [
        ("The answer is (A), not (B).", "mmmu", "B", "bracket"),  # the last one counts
        ("It is B", "mmmu", "B", "letter"),
        ("B.", "mmmu", "B", "letter"),
        ("A dog is what I see there", "mmmu", "I", "letter"),
        ("this is most certainly not A DOG!", "mmmu", "A", "letter"),
        ("one of the many none of these", "mmmu", "D", "text"),
        ("B. a dog", "mmmu", None, "guess"),
        ("B. a dog", "mmmu_pro", "B", "dot"),
        ("A or B?\nAnswer: B", "mmmu_pro", "B", "final"),
        ("Answer: B or D", "mmmu_pro", "D", "letter"),
        ("D. LEONARDO DAI VINCI", "mmmu_pro", "I", "letter"),
        (r"\boxed{D}", "mmmu_pro", None, "guess"),
    ],
)
def test_the_official_rules(response, version, letter, rule):
    parsed = parse_choice(response, ANIMALS, random.Random(42), version)
    assert parsed.rule == rule
    assert parsed.letter == (letter or random.Random(42).choice(list(ANIMALS)))


def test_the_official_guesses_follow_one_seed():
    generator, other = random.Random(42), random.Random(42)
    letters = [parse_choice("no idea", ANIMALS, generator).letter for _ in range(30)]
    assert letters == [other.choice("ABCDI") for _ in range(30)] and len(set(letters)) > 2


@pytest.mark.parametrize(
    ("response", "candidates"),
    [
        ("36 watts", ["36 watts", 36.0]),
        ("20,000,000", [20000000.0, 0.0]),
        ("C", [" c", "c "]),
        ("The force is 3.456 N.\nSo it = 12", ["3.456 n.", 12.0, 3.46]),
        ("1/4", ["1/4", 1.0, 4.0]),
    ],
)
def test_the_official_candidates_of_open_answers(response, candidates):
    assert parse_open(response) == candidates


def test_the_official_verdict_on_open_answers():
    assert open_is_right(parse_open("about 12.974"), ["12.97"])
    assert not open_is_right(parse_open("13"), ["12.97"])
    assert open_is_right(parse_open("the city of Tampa"), ["Tampa", "Florida"])
    assert not open_is_right(parse_open("Miami"), ["Tampa", "Florida"])


@pytest.mark.parametrize(
    "text",
    [
        "answer" + " " * 100_000, "answer is" + "*" * 100_000, "answer is " * 20_000, "answer:" + "(" * 100_000,
        "Answer: B" + " " * 100_000, "\n" * 100_000, "A. x\n" * 20_000, "\\text{" * 20_000, "<answer>" * 20_000,
        "\\boxed{" * 20_000, "answer is (A) " * 10_000 + "and ", "option choice " * 10_000,
    ],
)  # fmt: skip
def test_hostile_text_takes_no_time(text):
    from ptagrpo.benchmarks import options_in_text

    started = time.monotonic()
    stated_choice(text, ANIMALS)
    parse_choice(text, ANIMALS, random.Random(0), "mmmu_pro")
    parse_open(text)
    options_in_text(text)
    assert time.monotonic() - started < patience(2.0)
