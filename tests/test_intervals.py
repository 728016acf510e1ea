"""Intervals against closed forms, scipy, and their promise: to cover the truth as often as they say."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptagrpo.evaluation import clustered_interval, paired_interval, wilson
from ptagrpo.evaluation.intervals import bootstrap_means, cluster_means, standard_error


def test_mean_counts_each_question_once():
    interval = clustered_interval([1, 1, 1, 0, 0], ["a", "a", "a", "b", "b"])
    assert interval.mean == 0.5 and interval.clusters == 2
    assert np.array_equal(cluster_means([1, 0, 4], ["x", "y", "x"]), [2.5, 0.0])


def test_standard_error_is_that_of_question_means():
    means = np.array([0.0, 0.25, 0.5, 1.0])
    assert standard_error(means) == pytest.approx(math.sqrt(np.var(means, ddof=1) / 4))
    assert standard_error(np.array([0.3])) == 0.0


def test_bootstrap_spread_matches_the_analytic_one():
    means = np.random.Generator(np.random.Philox(key=3)).beta(2, 3, size=200)
    draws = bootstrap_means(means)
    assert draws.shape == (10_000,)
    assert draws.std() == pytest.approx(means.std(ddof=0) / math.sqrt(200), rel=0.03)
    interval = clustered_interval(means)
    half = 1.96 * interval.standard_error
    assert interval.low == pytest.approx(interval.mean - half, abs=0.003)
    assert interval.high == pytest.approx(interval.mean + half, abs=0.003)


def test_bootstrap_agrees_with_scipy():
    stats = pytest.importorskip("scipy.stats")
    means = np.random.Generator(np.random.Philox(key=4)).integers(0, 5, size=80) / 4
    theirs = stats.bootstrap((means,), np.mean, n_resamples=10_000, method="percentile", random_state=1)
    ours = clustered_interval(means)
    assert ours.low == pytest.approx(theirs.confidence_interval.low, abs=0.01)
    assert ours.high == pytest.approx(theirs.confidence_interval.high, abs=0.01)


def test_wilson_agrees_with_scipy():
    stats = pytest.importorskip("scipy.stats")
    for successes, n in [(0, 30), (30, 30), (1, 7), (250, 500), (499, 500)]:
        theirs = stats.binomtest(successes, n).proportion_ci(0.95, method="wilson")
        assert wilson(successes, n) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


def test_same_input_same_interval_and_another_seed_another_one():
    values = [math.sin(n) ** 2 for n in range(30)]
    assert clustered_interval(values) == clustered_interval(values)
    assert clustered_interval(values, seed=1) != clustered_interval(values)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_all_wrong_or_all_right_still_has_a_width(value):
    interval = clustered_interval([value] * 30)
    assert interval.method == "wilson" and interval.mean == value
    assert interval.high - interval.low == pytest.approx(0.1135, abs=1e-3)


def test_many_samples_of_few_questions_do_not_shrink_the_interval():
    """The trap: 30 questions times 64 samples are not 1,920 independent answers."""
    means = np.linspace(0, 1, 30)
    values = [float(m > u) for m in means for u in (np.arange(64) + 0.5) / 64]
    clusters = [q for q in range(30) for _ in range(64)]
    clustered, naive = clustered_interval(values, clusters), clustered_interval(values)
    assert clustered.mean == pytest.approx(naive.mean)
    assert clustered.standard_error > 4 * naive.standard_error


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    generator = np.random.Generator(np.random.Philox(key=5))
    hits = 0
    for trial in range(300):
        chances = generator.beta(1, 1, size=60)
        means = generator.binomial(8, chances) / 8
        interval = clustered_interval(means, resamples=600, seed=trial)
        hits += interval.low <= 0.5 <= interval.high
    assert 0.90 <= hits / 300 <= 0.985


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_interval_stays_within_the_values(values):
    interval = clustered_interval(values, resamples=200)
    assert interval.low <= interval.high
    assert min(values) - 1e-12 <= interval.mean <= max(values) + 1e-12
    if interval.method == "bootstrap":
        assert min(values) - 1e-12 <= interval.low and interval.high <= max(values) + 1e-12
    else:
        assert 0.0 <= interval.low <= interval.mean <= interval.high <= 1.0


def test_paired_difference_is_narrower_than_two_unpaired_ones():
    generator = np.random.Generator(np.random.Philox(key=6))
    first = generator.uniform(size=100)
    second = first - 0.1 + 0.01 * generator.standard_normal(100)
    interval = paired_interval(first, second)
    assert interval.low < 0.1 < interval.high and interval.high - interval.low < 0.01
    assert paired_interval(second, first).mean == pytest.approx(-interval.mean)


def test_bad_input_is_refused():
    for call in (
        lambda: clustered_interval([]),
        lambda: clustered_interval([float("nan")]),
        lambda: clustered_interval([1.0, 0.0], level=1.0),
        lambda: clustered_interval([1.0], ["a", "b"]),
        lambda: paired_interval([1.0], [1.0, 0.0]),
        lambda: paired_interval([math.inf], [1.0]),
        lambda: wilson(3, 2),
    ):
        with pytest.raises(ValueError):
            call()
