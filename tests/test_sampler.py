"""The sampler against a float64 twin that sorts, and against the distribution that it claims to draw from."""

from __future__ import annotations

import numpy as np
import pytest
from generate_helpers import (
    SamplerTwin,
    ids,
    logit_model,
    philox_uniform,
    prompt_logits,
    roots,
    sample,
)

from ptagrpo import _core

NUM_ROWS, VOCAB = 400, 700
SETTINGS = [
    {},
    {"temperature": 0.3},
    {"temperature": 3.0},
    {"temperature": 0.0},
    {"top_k": 1},
    {"top_k": 5},
    {"top_k": 50, "temperature": 0.7},
    {"top_k": 600},
    {"top_k": 10_000},
    {"top_p": 0.95},
    {"top_p": 0.5, "temperature": 1.7},
    {"top_p": 1e-6},
    {"min_p": 0.05},
    {"min_p": 1.0},
    {"top_k": 20, "top_p": 0.8},
    {"top_k": 100, "top_p": 0.9, "min_p": 0.1, "temperature": 1.3},
    {"temperature": 0.0, "top_k": 5, "top_p": 0.5},
]


def random_logits() -> np.ndarray:
    """Rows of many shapes: smooth, peaked, flat, with ties, huge, with minus infinity, one-hot."""
    random = np.random.default_rng(5)
    rows = random.normal(size=(NUM_ROWS, VOCAB)) * random.choice([0.01, 1, 3, 10], size=(NUM_ROWS, 1))
    rows[::7] = np.round(rows[::7])
    rows[1::11] *= 1e3
    rows[2::13, random.permutation(VOCAB)[: VOCAB - 9]] = -1e30
    rows[3::17] = 0
    rows[4::19, 3] += 1e4
    rows[5::23] += 3e6
    return rows.astype(np.float32)


@pytest.fixture(scope="module")
def distributions():
    model = logit_model(random_logits())
    prompts = [ids(j) for j in range(NUM_ROWS)]
    cache = _core.Cache(model)
    return cache, cache.prefill(prompts, roots(NUM_ROWS)), prompt_logits(model, prompts)


@pytest.mark.parametrize("options", SETTINGS, ids=str)
def test_draws_equal_a_float64_twin(distributions, options):
    cache, handles, logits = distributions
    keys = np.arange(NUM_ROWS, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    result = sample(cache, handles, keys, 1, **options)
    cache.free(result["handles"])
    uniforms = philox_uniform(keys, 0)
    compared = 0
    for row in range(NUM_ROWS):
        twin = SamplerTwin(logits[row], **options)
        token = int(result["tokens"][row][0])
        expected, distance = twin.draw(uniforms[row])
        if twin.slack > 1e-5 and distance > 1e-5:
            assert token == expected, (row, options)
            compared += 1
        if twin.slack > 1e-5:
            assert twin.keep[token]
            scale = 1e-5 + 3e-7 * abs(twin.logprobs[token])
            expected_sampling = 0 if options.get("temperature") == 0 else twin.sampling_logprobs[token]
            assert result["sampling_logprobs"][row][0] == pytest.approx(expected_sampling, abs=scale)
            assert result["logprobs"][row][0] == pytest.approx(twin.logprobs[token], abs=scale)
        assert result["entropies"][row][0] == pytest.approx(twin.entropy, abs=1e-5)
    assert compared > NUM_ROWS // 2


def test_greedy_takes_the_lowest_of_equal_tokens():
    logits = np.zeros((1, 200), np.float32)
    logits[0, [170, 66, 131]] = 2.5
    cache = _core.Cache(logit_model(logits))
    result = sample(cache, cache.prefill([ids(0)], roots(1)), [1], 1, temperature=0.0)
    assert result["tokens"][0].tolist() == [66]


def test_top_k_keeps_all_ties_at_the_border():
    logits = np.full((1, 100), -5, np.float32)
    logits[0, 10], logits[0, [20, 50, 80]] = 3, 2
    cache = _core.Cache(logit_model(logits))
    parents = np.repeat(cache.prefill([ids(0)], roots(1)), 400)
    result = sample(cache, parents, np.arange(400), 1, top_k=2)
    assert set(np.concatenate(result["tokens"]).tolist()) == {10, 20, 50, 80}


@pytest.mark.parametrize(
    "options",
    [{}, {"temperature": 0.6}, {"top_k": 7}, {"top_p": 0.8}, {"min_p": 0.1}, {"top_k": 20, "top_p": 0.9}],
    ids=str,
)
def test_frequencies_follow_the_distribution(options):
    """Chi-square at the 1e-5 level; the keys are fixed, so the outcome is too."""
    from scipy.stats import chi2

    count = 20_000
    logits = np.random.default_rng(0).normal(size=(1, 40)).astype(np.float32) * 1.5
    cache = _core.Cache(logit_model(logits))
    parents = np.repeat(cache.prefill([ids(0)], roots(1)), count)
    drawn = np.concatenate(sample(cache, parents, np.arange(count) + 12345, 1, **options)["tokens"])
    expected = SamplerTwin(logits[0], **options).probabilities * count
    observed = np.bincount(drawn, minlength=40)
    assert (observed[expected == 0] == 0).all()
    likely = expected > 5
    statistic = ((observed - expected)[likely] ** 2 / expected[likely]).sum()
    assert statistic < chi2.ppf(1 - 1e-5, likely.sum() - 1)


def test_uniforms_are_philox_of_key_and_index():
    """Draw i of a chain uses (key, i): two equally likely tokens show each uniform's first bit."""
    cache = _core.Cache(logit_model(np.zeros((2, 2), np.float32)))
    handle = cache.prefill([ids(0)], roots(1))
    key = 0xDEADBEEF12345678
    tokens = sample(cache, handle, [key], 64)["tokens"][0]
    assert tokens.tolist() == (philox_uniform(key, np.arange(64)) >= 0.5).astype(int).tolist()


@pytest.mark.parametrize(
    "options, message",
    [
        ({"temperature": -1.0}, "temperature"),
        ({"temperature": float("nan")}, "temperature"),
        ({"temperature": float("inf")}, "temperature"),
        ({"temperature": 1e-60}, "temperature"),
        ({"top_k": -1}, "top_k"),
        ({"top_p": 0.0}, "top_p"),
        ({"top_p": 1.5}, "top_p"),
        ({"min_p": -0.1}, "min_p"),
        ({"min_p": 1.1}, "min_p"),
    ],
    ids=str,
)
def test_settings_out_of_range_are_refused(distributions, options, message):
    cache, handles, _ = distributions
    with pytest.raises(ValueError, match=message):
        sample(cache, handles[:1], [0], 1, **options)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_logits_that_are_not_finite_raise_and_leave_the_cache(bad):
    model = logit_model(np.zeros((1, 90), np.float32))
    cache = _core.Cache(model)
    handle = cache.prefill([ids(0)], roots(1))
    before = cache.bytes, cache.num_segments
    model.parameters()["lm_head.weight"][70, 0] = bad
    with pytest.raises(FloatingPointError, match="chain 0 at token 0"):
        sample(cache, np.repeat(handle, 2), [0, 1], 3)
    assert (cache.bytes, cache.num_segments) == before
