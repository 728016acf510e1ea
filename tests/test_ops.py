"""Each operation of the C core against its NumPy twin, its gradient against finite differences of the twin."""

from __future__ import annotations

import numpy as np
import ops_twins as twin
import pytest

from ptagrpo import _core

FORWARD = 2e-6  # largest allowed error, relative to the largest entry
GRADIENT = 2e-5


def normal(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def assert_close(got, wanted, tolerance, name=""):
    got, wanted = np.asarray(got, np.float64), np.asarray(wanted, np.float64)
    assert got.shape == wanted.shape
    scale = max(np.abs(wanted).max(initial=0.0), 1e-3)
    error = np.abs(got - wanted).max(initial=0.0) / scale
    assert error <= tolerance, f"{name}: relative error {error:.3g} > {tolerance:g}"


def derivative(function, x, dy, step=1e-5):
    """Gradient of sum(dy * function(x)) by central differences in float64 (function sees float64)."""
    x = x.astype(np.float64)
    out = np.zeros_like(x)
    for index in np.ndindex(x.shape):
        keep = x[index]
        x[index] = keep + step
        up = (function(x) * dy).sum()
        x[index] = keep - step
        out[index] = (up - (function(x) * dy).sum()) / (2 * step)
        x[index] = keep
    return out


def test_exp_over_its_whole_range():
    x = np.concatenate([np.linspace(-87.3, 88, 200_001), [0.0, -0.0, 1e-30]]).astype(np.float32)
    exact = np.exp(x.astype(np.float64))
    assert np.max(np.abs(_core.ops_exp(x) - exact) / exact) < 2.5e-7
    edge = _core.ops_exp(np.array([-np.inf, -200, np.nan, 100, np.inf], np.float32))
    assert edge[0] == 0 and edge[1] == 0 and np.isnan(edge[2]) and edge[3] > 1e38 and edge[4] > 1e38


def test_philox_known_answers_and_uniformity():
    """Philox4x32-10 with key 0 and counter 0 starts with 6627e8d5 e169c58d (the authors' answers)."""
    expected = ((0x6627E8D5 << 32 | 0xE169C58D) >> 11) * 2.0**-53
    assert _core.ops_uniform(0, 0) == expected
    draws = np.array([_core.ops_uniform(12345, i) for i in range(20_000)])
    assert 0 <= draws.min() and draws.max() < 1
    counts = np.histogram(draws, bins=20, range=(0, 1))[0]
    assert ((counts - 1000) ** 2 / 1000).sum() < 43.8  # chi-square, 19 degrees of freedom, p = 0.001


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_embedding_sums_equal_tokens(threads):
    table, dy = normal(1, 11, 40), normal(2, 700, 40)
    tokens = np.random.default_rng(3).integers(0, 11, 700).astype(np.int32)
    before = _core.get_num_threads()
    try:
        _core.set_num_threads(threads)
        y, dtable = _core.ops_embedding(table, tokens, dy)
    finally:
        _core.set_num_threads(before)
    expected = np.zeros((11, 40), np.float32)
    for t, token in enumerate(tokens):
        expected[token] += dy[t]  # in row order, as C does: equal to the bit
    assert np.array_equal(y, table[tokens]) and np.array_equal(dtable, expected)


@pytest.mark.parametrize("T, C", [(1, 2), (2, 7), (5, 33)])
def test_rmsnorm(T, C):
    x, w, dy = normal(1, T, C), normal(2, C), normal(3, T, C)
    y, dx, dw = _core.ops_rmsnorm(x, w, dy, 1e-6)
    eps = float(np.float32(1e-6))
    assert_close(y, twin.rmsnorm(x.astype(np.float64), w, eps), FORWARD)
    assert_close(dx, derivative(lambda v: twin.rmsnorm(v, w, eps), x, dy), GRADIENT, "dx")
    assert_close(dw, derivative(lambda v: twin.rmsnorm(x.astype(np.float64), v, eps), w, dy), GRADIENT, "dw")


def test_sums_over_rows_do_not_depend_on_the_thread_count():
    x, w, dy = normal(1, 999, 65), normal(2, 65), normal(3, 999, 65)
    before = _core.get_num_threads()
    results = []
    for threads in (1, 2, 3, 4):
        _core.set_num_threads(threads)
        results.append(_core.ops_rmsnorm(x, w, dy, 1e-6))
    _core.set_num_threads(before)
    for result in results[1:]:
        assert all(np.array_equal(a, b) for a, b in zip(result, results[0], strict=True))


@pytest.mark.parametrize("T, F", [(1, 1), (3, 17)])
def test_swiglu(T, F):
    x, dy = 3 * normal(1, T, 2 * F), normal(2, T, F)
    y, again, dx = _core.ops_swiglu(x, dy)
    assert np.array_equal(y, again)
    assert_close(y, twin.swiglu(x.astype(np.float64)), FORWARD)
    assert_close(dx, derivative(twin.swiglu, x, dy), GRADIENT)


def test_swiglu_far_out():
    x = np.array([[-200.0, 200.0, 1.5, 2.0]], np.float32)
    y, _, dx = _core.ops_swiglu(x, np.ones((1, 2), np.float32))
    assert abs(y[0, 0]) < 1e-30 and y[0, 1] == 400 and np.all(np.isfinite(dx))


@pytest.mark.parametrize("R, V, temperature", [(1, 2, 1.0), (4, 9, 0.6), (3, 40, 1.7)])
def test_logprobs(R, V, temperature):
    z, dlp, dh = 3 * normal(1, R, V), normal(2, R), normal(3, R)
    target = np.random.default_rng(4).integers(0, V, R).astype(np.int32)
    lp, h, dz = _core.ops_logprobs(z, target, temperature, dlp, dh)
    t = float(np.float32(temperature))
    exact = twin.logprobs(z.astype(np.float64), target, t)
    assert_close(lp, exact[0], FORWARD)
    assert_close(h, exact[1], FORWARD)
    expected = derivative(lambda v: twin.logprobs(v, target, t)[0], z, dlp) + derivative(
        lambda v: twin.logprobs(v, target, t)[1], z, dh
    )
    assert_close(dz, expected, GRADIENT)


def test_logprobs_of_a_large_vocabulary_and_extreme_logits():
    z = np.full((2, 151_936), -80.0, np.float32)
    z[0] = normal(1, 151_936) * 5
    z[1, 7] = 80.0
    target, one = np.array([3, 7], np.int32), np.ones(2, np.float32)
    lp, h, _ = _core.ops_logprobs(z, target, 1.0, one, 0 * one)
    exact = twin.logprobs(z.astype(np.float64), target, 1.0)
    assert_close(lp, exact[0], FORWARD)
    assert_close(h, exact[1], FORWARD)


@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("H, K, D", [(1, 1, 2), (6, 2, 10), (4, 4, 16)])
def test_heads(norm, H, K, D):
    T, width = 4, (H + 2 * K) * D
    qkv, bias, dy = normal(1, T, width), normal(2, width), normal(3, T, width)
    q_norm, k_norm = (normal(4, D), normal(5, D)) if norm else (None, None)
    angle = np.arange(9)[:, None] * 0.3 ** np.arange(D // 2)[None]
    rope = np.concatenate([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)
    position = np.array([0, 1, 8, 3], np.int32)
    y, dx, dbias, dq, dk = _core.ops_heads(qkv, bias, q_norm, k_norm, rope, position, dy, H, K, D, 1e-5)
    eps, x = float(np.float32(1e-5)), qkv.astype(np.float64)

    def run(x=x, bias=bias, q_norm=q_norm, k_norm=k_norm):
        return twin.heads(x, bias, q_norm, k_norm, rope.astype(np.float64), position, H, K, D, eps)

    assert_close(y, run(), FORWARD)
    assert_close(dx, derivative(lambda v: run(x=v), qkv, dy), GRADIENT, "dqkv")
    assert_close(dbias, derivative(lambda v: run(bias=v), bias, dy), GRADIENT, "dbias")
    if norm:
        assert_close(dq, derivative(lambda v: run(q_norm=v), q_norm, dy), GRADIENT, "dq_norm")
        assert_close(dk, derivative(lambda v: run(k_norm=v), k_norm, dy), GRADIENT, "dk_norm")


def forest_of(lengths, parent):
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    return _core.Forest(np.zeros(offsets[-1], np.int32), offsets, np.array(parent, np.int32))


FORESTS = {
    "one token": ([1], [-1]),
    "one segment": ([9], [-1]),
    "tree with an empty segment": ([3, 2, 0, 4, 1, 2], [-1, 0, 1, 1, 0, -1]),
    "deep chain": ([2, 1, 1, 2], [-1, 0, 1, 2]),
    "packed roots": ([3, 1, 4], [-1, -1, -1]),
}


@pytest.mark.parametrize("name", FORESTS)
@pytest.mark.parametrize("H, K, D", [(1, 1, 2), (6, 2, 4)])
def test_attention(name, H, K, D):
    forest = forest_of(*FORESTS[name])
    T = forest.num_tokens
    qkv, dout = normal(1, T, (H + 2 * K) * D), normal(2, T, H * D)
    out, lse, dqkv = _core.ops_attention(qkv, forest, dout, H, K, D)
    mask = twin.visible(forest.offsets, forest.parent)
    exact = twin.attention(qkv.astype(np.float64), mask, H, K, D)
    assert_close(out, exact[0], FORWARD)
    assert_close(lse, exact[1], FORWARD)
    assert_close(dqkv, derivative(lambda v: twin.attention(v, mask, H, K, D)[0], qkv, dout), GRADIENT)


@pytest.mark.parametrize("threads", [1, 3])
def test_attention_across_tiles(threads):
    """Segments longer than a tile of queries and a block of keys; gradient along random directions."""
    forest = forest_of([300, 70, 129, 1, 200], [-1, 0, 1, 1, 0])
    H, K, D, T = 4, 2, 8, 700
    qkv, dout = normal(1, T, (H + 2 * K) * D), normal(2, T, H * D)
    before = _core.get_num_threads()
    try:
        _core.set_num_threads(threads)
        out, lse, dqkv = _core.ops_attention(qkv, forest, dout, H, K, D)
    finally:
        _core.set_num_threads(before)
    mask = twin.visible(forest.offsets, forest.parent)
    x = qkv.astype(np.float64)
    exact = twin.attention(x, mask, H, K, D)
    assert_close(out, exact[0], FORWARD)
    assert_close(lse, exact[1], FORWARD)
    for seed in range(4):
        direction = normal(10 + seed, *qkv.shape).astype(np.float64)
        up, down = (twin.attention(x + s * 1e-5 * direction, mask, H, K, D)[0] for s in (1, -1))
        wanted = ((up - down) * dout).sum() / 2e-5
        assert abs((dqkv * direction).sum() - wanted) < 1e-4 * np.linalg.norm(dqkv)


def test_the_mask_rule_of_the_depth_first_order():
    """Key j is visible to query i iff j <= i < end of the subtree of j's segment, on small random forests."""
    rng = np.random.default_rng(0)
    for _ in range(300):
        parent = [-1]
        while len(parent) < rng.integers(1, 9):
            path = [len(parent) - 1]
            while path[-1] >= 0:
                path.append(parent[path[-1]])
            parent.append(int(rng.choice(path)))  # the segment before, or one above it
        lengths = rng.integers(0, 4, len(parent))
        lengths[0] += 1
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        until = offsets[1:].copy()
        for s in reversed(range(len(parent))):
            if parent[s] >= 0:
                until[parent[s]] = max(until[parent[s]], until[s])
        segment = np.repeat(np.arange(len(parent)), lengths)
        i, j = np.indices((offsets[-1], offsets[-1]))
        assert np.array_equal(twin.visible(offsets, parent), (j <= i) & (i < until[segment][j]))
        forest_of(lengths, parent)  # and the core accepts it


@pytest.mark.parametrize(
    "tokens, offsets, parent, message",
    [
        ([1, 2], [0, 1], [-1], "offsets\\[1\\] is 1"),
        ([1, 2], [1, 2], [-1], "offsets\\[0\\] is 1"),
        ([1, 2], [0, 3, 2], [-1, 0], "decrease at segment 1"),
        ([1, 2], [0, 1, 2], [0, -1], "parent\\[0\\] is 0"),
        ([1, 2, 3, 4], [0, 1, 2, 3, 4], [-1, 0, 0, 1], "depth-first"),
        ([], [0], [], "need 1 to"),
    ],
)
def test_bad_forests_are_refused(tokens, offsets, parent, message):
    with pytest.raises(ValueError, match=message):
        _core.Forest(np.array(tokens, np.int32), np.array(offsets, np.int32), np.array(parent, np.int32))
