"""The strict template check and the lenient reading of responses."""

import itertools
import random

import pytest

from ptagrpo.parsing import TAGS, boxed_texts, cut_at_eos, follows_template, parse_response

WORD_LEVEL = (
    "<plan> Hal Cat Ida Jon </plan> <think> Jon 5 . Ida 5 plus Jon = 3 . </think> <answer> 0 </answer>"
)


@pytest.mark.parametrize(
    "text",
    [
        WORD_LEVEL,
        "<plan>a</plan><think>b</think><answer>c</answer>",
        "\n <plan>\na\n\nb\n</plan>\n\n<think>\nb\r\nc</think>\t\n<answer>\nc\n</answer>\n\n",
        "<plan>x < y > z, <b>bold</b></plan><think>1 <2</think><answer>\\boxed{\\frac{1}{2}}</answer>",
    ],
)
def test_strict_template_accepts(text):
    assert follows_template(text)
    assert parse_response(text).follows_template


@pytest.mark.parametrize(
    "text",
    [
        "",
        "42",
        "<plan>a</plan><think>b</think>",
        "<plan>a</plan><answer>c</answer>",
        "<think>b</think><answer>c</answer>",
        "<plan>a<think>b</think><answer>c</answer>",
        "<plan></plan><think>b</think><answer>c</answer>",
        "<plan>a</plan><think> \n </think><answer>c</answer>",
        "<plan>a</plan><think>b</think><answer>\t</answer>",
        "so: <plan>a</plan><think>b</think><answer>c</answer>",
        "<plan>a</plan> then <think>b</think><answer>c</answer>",
        "<plan>a</plan><think>b</think>.<answer>c</answer>",
        "<plan>a</plan><think>b</think><answer>c</answer> \\boxed{c}",
        "<plan>a</plan><think>b</think><answer>c</answer><answer>c</answer>",
        "<plan>a<plan>a</plan></plan><think>b</think><answer>c</answer>",
        "<plan>a</plan><think>b<think>c</think></think><answer>c</answer>",
        "<think>b</think><plan>a</plan><answer>c</answer>",
        "<plan>a<think>b</plan></think><answer>c</answer>",
        "<Plan>a</Plan><think>b</think><answer>c</answer>",
        "<plan >a</plan><think>b</think><answer>c</answer>",
        WORD_LEVEL + WORD_LEVEL,
    ],
)
def test_strict_template_refuses(text):
    assert not follows_template(text)


def test_only_one_order_of_the_six_tags_is_the_template():
    accepted = [order for order in itertools.permutations(TAGS) if follows_template("x".join(order))]
    assert accepted == []  # "x" also stands between </plan> and <think>
    good = [order for order in itertools.permutations(TAGS) if follows_template(_fill(order))]
    assert good == [TAGS]


def _fill(order):
    return "".join(tag + (" x " if not tag.startswith("</") else "\n") for tag in order)


def test_dropping_doubling_or_adding_anything_breaks_the_template():
    random_numbers = random.Random(0)
    pieces = ["<plan>", "p", "</plan>", "\n", "<think>", "t", "</think>", " ", "<answer>", "a", "</answer>"]
    visible = [i for i, piece in enumerate(pieces) if piece.strip()]
    assert follows_template("".join(pieces))
    for i in visible:
        assert not follows_template("".join(pieces[:i] + pieces[i + 1 :]))
    for i in (i for i in visible if pieces[i] in TAGS):
        assert not follows_template("".join(pieces[: i + 1] + pieces[i:]))
    for _ in range(200):
        tag, at = random_numbers.choice(TAGS), random_numbers.randrange(len(pieces) + 1)
        assert not follows_template("".join([*pieces[:at], tag, *pieces[at:]]))


def test_parts():
    parsed = parse_response(WORD_LEVEL)
    assert parsed.plan == "Hal Cat Ida Jon"
    assert parsed.think == "Jon 5 . Ida 5 plus Jon = 3 ."
    assert parsed.answer == "0"
    assert parsed.plan_closed


@pytest.mark.parametrize(
    ("text", "plan", "closed", "think", "answer"),
    [
        ("no tags at all", None, False, None, None),
        ("so it is \\boxed{7}", None, False, None, "7"),
        ("<plan> a b", "a b", False, None, None),
        ("<plan> a b <think> c </think> <answer> 1 </answer>", "a b", False, "c", "1"),
        ("<plan> a </plan> <think> c", "a", True, "c", None),
        ("<plan>a</plan><plan>b</plan><think>c</think><answer>1</answer>", "a", True, "c", "1"),
        ("<plan></plan><think></think><answer></answer>", "", True, "", None),
        ("<think>c</think><answer>1</answer>", None, False, "c", "1"),
        ("<answer>1</answer> no: <answer> 2 </answer>", None, False, None, "2"),
        ("<answer>1 and cut", None, False, None, "1 and cut"),
        ("<think>\\boxed{9}</think><answer>\\boxed{3}</answer>", None, False, "\\boxed{9}", "3"),
        ("<think>t</think><answer>it is 3</answer> \\boxed{3}", None, False, "t", "3"),
        ("<think>\\boxed{9}</think><answer>3</answer>", None, False, "\\boxed{9}", "3"),
        ("<answer>x = \\boxed{\\frac{1}{2}}</answer>", None, False, None, "\\frac{1}{2}"),
        ("<answer>\\boxed{}</answer>", None, False, None, None),
        ("</plan> a <plan> b </plan>", "b", True, None, None),
    ],
)
def test_lenient_reading(text, plan, closed, think, answer):
    parsed = parse_response(text)
    assert (parsed.plan, parsed.plan_closed, parsed.think, parsed.answer) == (plan, closed, think, answer)


def test_nothing_after_the_end_of_sequence_is_read():
    text = "<plan>a</plan><think>b</think><answer>1</answer><|im_end|><answer>2</answer>\\boxed{5}"
    parsed = parse_response(text, eos_texts=["<|endoftext|>", "<|im_end|>"])
    assert parsed.follows_template and parsed.answer == "1"
    assert not parse_response(text).follows_template
    assert cut_at_eos("a<e>b<f>c", ["<f>", "<e>", ""]) == "a"
    assert cut_at_eos("abc", ["<e>"]) == "abc"


def test_boxed_braces():
    assert boxed_texts(r"\boxed{a{b}c} \boxed {d} \boxed{\{1, 2\}} \boxed{open") == [
        "a{b}c",
        "d",
        r"\{1, 2\}",
    ]
    assert boxed_texts("unboxed{1}") == []
    assert boxed_texts("\\boxed{" * 3000) == []
