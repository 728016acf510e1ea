"""pass@k against enumeration and exact fractions, majority votes against enumeration of tie-breaks."""

import math
from fractions import Fraction
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptagrpo.evaluation import majority, pass_at_k


@given(st.data())
def test_pass_at_k_is_the_share_of_subsets_with_a_right_one(data):
    right = data.draw(st.lists(st.booleans(), min_size=1, max_size=9))
    k = data.draw(st.integers(1, len(right)))
    subsets = list(combinations(right, k))
    expected = sum(any(subset) for subset in subsets) / len(subsets)
    assert pass_at_k(len(right), sum(right), k) == pytest.approx(expected, abs=1e-12)


@given(st.data())
def test_pass_at_k_is_exact_for_large_n(data):
    n = data.draw(st.integers(1, 5000))
    c, k = data.draw(st.integers(0, n)), data.draw(st.integers(1, n))
    exact = 1 - Fraction(math.comb(n - c, k), math.comb(n, k))
    value = pass_at_k(n, c, k)
    assert 0.0 <= value <= 1.0
    assert value == pytest.approx(float(exact), rel=1e-11, abs=1e-300)


@given(st.integers(1, 200), st.data())
def test_pass_at_k_edges_and_monotonicity(n, data):
    c = data.draw(st.integers(0, n))
    assert pass_at_k(n, c, 1) == pytest.approx(c / n)
    assert pass_at_k(n, c, n) == (1.0 if c else 0.0)
    values = [pass_at_k(n, c, k) for k in range(1, n + 1)]
    assert all(later >= earlier - 1e-12 for earlier, later in zip(values, values[1:], strict=False))


@pytest.mark.parametrize(("n", "c", "k"), [(4, 5, 1), (4, -1, 1), (4, 2, 5), (4, 2, 0), (0, 0, 1)])
def test_impossible_counts_are_refused(n, c, k):
    with pytest.raises(ValueError, match="pass_at_k"):
        pass_at_k(n, c, k)


def by_enumeration(answers, correct):
    """Chance that a fair draw among the most frequent answers is right; right answers are one answer."""
    names = ["RIGHT" if right else answer for answer, right in zip(answers, correct, strict=True)]
    votes = [name for name in names if name is not None]
    if not votes:
        return 0.0
    most = max(map(votes.count, votes))
    tied = sorted({name for name in votes if votes.count(name) == most})
    return tied.count("RIGHT") / len(tied)


@given(st.lists(st.sampled_from(["2", "3", "4", None]), min_size=1, max_size=8))
def test_majority_is_the_chance_of_a_fair_tie_break(answers):
    correct = [answer == "2" for answer in answers]
    assert majority(answers, correct) == pytest.approx(by_enumeration(answers, correct))
    assert majority(answers[::-1], correct[::-1]) == majority(answers, correct)


def test_majority_cases():
    assert majority(["5", "5", "7"], [True, True, False]) == 1.0
    assert majority(["7", "7", "5"], [False, False, True]) == 0.0
    assert majority(["5", "7"], [True, False]) == 0.5
    assert (
        majority(["1/2", "0.5", "7"], [True, True, False]) == 1.0
    )  # two spellings of the right answer are one
    assert majority([None, None], [False, False]) == 0.0
    assert majority([None, None, "5"], [False, False, True]) == 1.0
    with pytest.raises(ValueError, match="2 answers and 1 verdicts"):
        majority(["1", "2"], [True])
