r"""extract_answer: what a response states, and nothing that it does not state."""


import pytest
from hypothesis import given
from hypothesis import strategies as st
from patience import growth

from ptagrpo.answers import extract_answer
from ptagrpo.answers.extract import closing_braces, last_boxed


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (r"so it is \boxed{42}.", "42"),
        (r"first \boxed{1}, then \boxed{2}", "2"),
        (r"\boxed{\frac{1}{\sqrt{2}}}", r"\frac{1}{\sqrt{2}}"),
        (r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
        (r"\boxed{\left\{ x \right\}}", r"\left\{ x \right\}"),
        (r"\boxed {7}", "7"),
        (r"\boxed 7 is it", "7"),
        (r"\fbox{8}", "8"),
        (r"$\boxed{\boxed{9}}$", "9"),
        (r"good \boxed{3} and cut off \boxed{\frac{1}{2", "3"),
        (r"empty \boxed{} after \boxed{5}", "5"),
        (r"\boxed{4:30 \text{ p.m.}}", r"4:30 \text{ p.m.}"),
        ("<plan>p</plan><think>t</think><answer>12</answer>", "12"),
        (r"<think>\boxed{1}</think><answer>2</answer>", "2"),
        (r"<answer> \boxed{2} </answer>", "2"),
        (r"<answer>2</answer> That is, \boxed{3}", "3"),
        (r"<answer> \boxed{180}", "180"),
        (r"<think>\boxed{6}</think><answer>12", "6"),
        ("<answer>1</answer> no, <answer>2</answer>", "2"),
        ("<ANSWER> 5 </ANSWER>", "5"),
        ("<answer></answer>", None),
        ("Natalia sold 48+24 = 72 clips.\n#### 72", "72"),
        ("#### 1\nwait\n#### 1,234 ", "1,234"),
        ("The answer is 42.", "42"),
        ("The final answer is: $\\frac{1}{2}$.", r"\frac{1}{2}"),
        (r"Answer: \(x+1\)", "x+1"),
        ("the answer is (C).", "C"),
        ("The answer is 3.5%", "3.5%"),
        ("The answer is $1,000", "$1,000"),
        ("The answer is a number", None),
        ("The answer is 3 + 4", None),
        ("The answer is 3x", None),
        ("The answer is probably large.", None),
        ("We get 7, then 8, then 9.", None),
        ("", None),
        (r"\boxed{", None),
    ],
)
def test_what_is_extracted(text, expected):
    assert extract_answer(text) == expected


def test_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="'latex'"):
        extract_answer("1", kind="latex")


braced = st.recursive(
    st.text(alphabet="abc1+ ", min_size=1, max_size=5),
    lambda inner: st.tuples(inner, inner).map(lambda pair: f"{pair[0]}{{{pair[1]}}}"),
    max_leaves=8,
)


@given(content=braced, before=st.text(max_size=30), after=st.text(alphabet="xyz .}", max_size=10))
def test_any_balanced_content_comes_back_whole(content, before, after):
    if "boxed" in before or "fbox" in before or not content.strip():
        return
    assert last_boxed(before.replace("\\", "") + r"\boxed{" + content + "}" + after) == content.strip()


@given(st.text(max_size=300))
def test_any_text_is_survived(text):
    extract_answer(text)
    extract_answer(r"\boxed{" + text)


def test_long_hostile_texts_take_linear_time():
    repeated = (r"\boxed{", "<answer>", "answer is ", r"answer: \(", "#### ", "{", "the answer is 1,", "\n ")
    for unit in repeated:
        assert growth(extract_answer, lambda n, unit=unit: unit * n, 5_000) < 9, unit
    for first, unit in (("the answer is ", "1,"), ("#### a", " "), ("#### ", "a ")):
        assert growth(extract_answer, lambda n, first=first, unit=unit: first + unit * n + "\nb", 12_500) < 9, first


def test_braces_that_never_close_are_left_out():
    assert closing_braces("{a{b}") == {2: 4}
    assert closing_braces(r"{\}}") == {0: 3}
    assert closing_braces("}}{}") == {2: 3}
