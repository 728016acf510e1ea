"""Tests and intervals against scipy, enumeration, closed forms, and their promise to hold their level."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptagrpo.statistics import (
    detectable_difference,
    detectable_share,
    holm,
    mcnemar,
    sign_flip,
    two_level_bootstrap,
)


def test_sign_flip_is_exact_by_enumeration():
    differences = [0.3, -0.1, 0.4, 0.2, 0.0, 0.7]
    sums = [abs(sum(s * d for s, d in zip(signs, differences, strict=True)))
            for signs in itertools.product((1, -1), repeat=6)]  # fmt: skip
    expected = np.mean([value >= 1.5 - 1e-9 for value in sums])
    assert sign_flip(differences) == pytest.approx(expected)


@pytest.mark.parametrize("n", [9, 60])
def test_sign_flip_agrees_with_scipy(n):
    stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(n)
    values = rng.normal(0.25, 1.0, n)
    theirs = stats.permutation_test(
        (values, np.zeros(n)), lambda x, y: np.mean(x - y), permutation_type="samples",
        n_resamples=20_000, random_state=1,
    ).pvalue  # fmt: skip
    assert sign_flip(values) == pytest.approx(theirs, abs=0.012)


def test_sign_flip_holds_its_level():
    rng = np.random.default_rng(0)
    rejected = sum(sign_flip(rng.integers(-2, 3, 40) / 4, flips=400, seed=i) <= 0.05 for i in range(400))
    assert rejected <= 34  # 20 expected; 34 is three sigma


def test_sign_flip_of_nothing_and_of_the_smallest_possible():
    assert sign_flip([0.0, 0.0]) == 1.0
    assert sign_flip([1.0] * 100, flips=999) == 1 / 1000
    assert sign_flip([0.1, 0.2, 0.3]) == 0.25  # rounding of 0.1 + 0.2 + 0.3 loses no sign pattern
    for bad in ([], [math.nan]):
        with pytest.raises(ValueError):
            sign_flip(bad)


@pytest.mark.parametrize(("a", "b"), [(0, 0), (1, 9), (30, 12), (5, 5), (700, 800)])
def test_mcnemar_agrees_with_scipys_binomial_test(a, b):
    stats = pytest.importorskip("scipy.stats")
    expected = 1.0 if a + b == 0 else stats.binomtest(a, a + b, 0.5).pvalue
    assert mcnemar(a, b) == pytest.approx(expected, rel=1e-9) and mcnemar(b, a) == mcnemar(a, b)


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == [] and holm([0.7, 0.9]) == [1.0, 1.0]
    with pytest.raises(ValueError, match="from 0 to 1"):
        holm([1.5])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_is_monotone_and_between_plain_and_bonferroni(p_values):
    adjusted = holm(p_values)
    for p, q in zip(p_values, adjusted, strict=True):
        assert p <= q <= min(1.0, len(p_values) * p) + 1e-12
    order = np.argsort(p_values)
    assert all(np.diff(np.array(adjusted)[order]) >= 0)


def test_holm_keeps_the_chance_of_any_false_alarm():
    rng = np.random.default_rng(5)
    alarms = sum(min(holm(rng.random(6).tolist())) <= 0.05 for _ in range(2000))
    assert alarms / 2000 == pytest.approx(0.05, abs=0.015)


def test_one_seed_is_the_plain_bootstrap_over_questions():
    stats = pytest.importorskip("scipy.stats")
    values = np.random.default_rng(4).integers(0, 5, size=80) / 4
    theirs = stats.bootstrap((values,), np.mean, n_resamples=10_000, method="percentile", random_state=1)
    ours = two_level_bootstrap([values])
    assert ours.low == pytest.approx(theirs.confidence_interval.low, abs=0.01)
    assert ours.high == pytest.approx(theirs.confidence_interval.high, abs=0.01)
    assert ours.standard_error == pytest.approx(theirs.standard_error, rel=0.03)
    assert two_level_bootstrap([values], crossed=False).low == pytest.approx(ours.low, abs=0.01)


@pytest.mark.parametrize("crossed", [True, False])
def test_both_levels_count(crossed):
    """Seeds that differ widen the interval however many questions there are; the variance has a closed form."""
    rng = np.random.default_rng(6)
    table = rng.normal(0, 0.1, 6)[:, None] + rng.normal(0, 0.3, 400)
    found = two_level_bootstrap(table, crossed=crossed)
    seeds = table.mean(axis=1).var() / 6
    questions = table.mean(axis=0).var() / 400 if crossed else table.var(axis=1).mean() / (6 * 400)
    assert found.standard_error == pytest.approx(math.sqrt(seeds + questions), rel=0.05)
    one_level = two_level_bootstrap([table.mean(axis=0)])
    assert found.standard_error > 2 * one_level.standard_error
    assert found.mean == pytest.approx(table.mean()) and (found.seeds, found.questions) == (6, 400)


def test_the_two_level_interval_covers_the_truth():
    rng = np.random.default_rng(7)
    hits = 0
    for trial in range(200):
        table = 0.5 + rng.normal(0, 0.05, 20)[:, None] + rng.normal(0, 0.3, 60) + rng.normal(0, 0.2, (20, 60))
        found = two_level_bootstrap(table, resamples=500, seed=trial)
        hits += found.low <= 0.5 <= found.high
    assert 0.90 <= hits / 200 <= 1.0


def test_seeds_with_their_own_questions_may_have_different_numbers():
    found = two_level_bootstrap([[1.0, 0.0], [1.0, 1.0, 1.0, 1.0]], crossed=False, resamples=500)
    assert found.mean == 0.75 and found.questions == 3.0
    with pytest.raises(ValueError, match="as many in each"):
        two_level_bootstrap([[1.0], [1.0, 0.0]])
    for bad in ([], [[]], [[math.inf]]):
        with pytest.raises(ValueError):
            two_level_bootstrap(bad)
    assert two_level_bootstrap([[0.0, 1.0]]) == two_level_bootstrap([[0.0, 1.0]])


def test_the_smallest_detectable_difference_is_found_as_often_as_it_says():
    assert detectable_difference(1.0) == pytest.approx(2.8016, abs=1e-4)
    rng = np.random.default_rng(8)
    true = detectable_difference(1 / math.sqrt(50))
    found = np.mean([abs(rng.normal(true, 1.0, 50).mean()) > 1.96 / math.sqrt(50) for _ in range(4000)])
    assert found == pytest.approx(0.8, abs=0.02)
    with pytest.raises(ValueError):
        detectable_difference(1.0, power=1.0)


def test_planning_with_a_share_of_discordant_questions():
    d = detectable_share(400, 0.3)
    assert d == pytest.approx(detectable_difference(math.sqrt((0.3 - d * d) / 400)))
    assert detectable_share(4, 0.1) == 0.1 and detectable_share(400, 0.0) == 0.0
