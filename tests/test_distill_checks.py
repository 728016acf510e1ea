"""Cleaning and checking of plans, on texts alone."""

from __future__ import annotations

import pytest

from ptagrpo.distill import check_plan, clean_plan


@pytest.mark.parametrize(
    "reply, plan",
    [
        ("1. Sort.\n2. Count.", "1. Sort.\n2. Count."),
        ("<plan> Sort. </plan>", "Sort."),
        ("<plan> Sort.", "Sort."),
        ("<think>let me see</think>\n\n<plan>Sort.</plan>", "Sort."),
        ("<think>never closed", ""),
        ("```\nSort.\n```", "Sort."),
        ("**Plan:**\n\n1. Sort.", "1. Sort."),
        ("## Plan\n1. Sort.", "1. Sort."),
        ("Plan: sort first.", "Plan: sort first."),
        ("Use <plan> here", "Use <plan> here"),
    ],
)
def test_cleaning(reply, plan):
    assert clean_plan(reply) == plan


QUESTION = "A shop sells 12 boxes of 35 pens. How many pens?"


@pytest.mark.parametrize(
    "plan, answer",
    [
        ("Multiply the boxes by the pens in each; the total is 420.", "420"),
        ("Compute to get 420 pens", "420"),
        ("Expect $420$.", "420"),
        ("Arrive at 1,420 in the end", "1420"),
        ("So x = 2.", "2"),
        ("The answer should be 2", "2"),
        ("Simplify to \\dfrac{3}{4}", "\\frac{3}{4}"),
        ("The sum equals $\\left( 3, \\frac{\\pi}{2} \\right)$", "\\left( 3, \\frac{\\pi}{2} \\right)"),
        ("conclude $x^2+1$", "x^2+1"),
        ("it is \\boxed{}", "7"),
        ("the probability equals 1/2", "0.5"),
        ("Show that it is $\\frac{1}{2}$", "0.5"),
        ("Arrive at 0.50 of them", "\\frac{1}{2}"),
        ("The total is 420.0", "420"),
    ],
)
def test_a_plan_that_states_the_answer(plan, answer):
    assert "states the final answer" in check_plan(plan, QUESTION, answer)


@pytest.mark.parametrize(
    "plan, answer",
    [
        ("1. Read.\n2. Multiply.\n3. Check.", "2"),
        ("Step 2: multiply", "2"),
        ("Multiply 12 by 35", "12"),
        ("Use the 35 pens of each box", "35"),
        ("Take a 4200-page book", "420"),
        ("about 420.5 of them", "420"),
        ("Consider x^2+10 first", "x^2+1"),
        ("multiply boxes by pens", "420"),
        ("Split into cases by parity", "\\text{even}"),
        ("Take half, 1/2, of 35", "17.5"),
        ("Multiply 12.0 by 35", "12"),
        ("Round x_0.5 and 0.55", "0.5"),
    ],
)
def test_a_plan_that_does_not(plan, answer):
    assert check_plan(plan, QUESTION, answer) is None
