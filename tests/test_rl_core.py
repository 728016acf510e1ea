"""Group advantages and the policy loss of the core against independent float64 twins."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ptagrpo import _core

INF = float("inf")
EMPTY_STATS = dict(
    count=0,
    clip_low=0,
    clip_high=0,
    clip_delta=0,
    ratio_sum=0.0,
    ratio_min=INF,
    ratio_max=-INF,
    kl_sum=0.0,
    kl_weight=0.0,
)


# --- group advantages ------------------------------------------------------------


def advantages_twin(rewards, offsets, scale, ddof, eps):
    """(R - group mean) / (std + eps) in extended precision, straight from Eq. 10."""
    everything = rewards[~np.isnan(rewards)].astype(np.longdouble)
    result, silent = np.zeros(len(rewards)), np.zeros(len(offsets) - 1, bool)
    for g, (first, last) in enumerate(zip(offsets[:-1], offsets[1:], strict=True)):
        row = rewards[first:last]
        there = ~np.isnan(row)
        values = row[there].astype(np.longdouble)
        if len(values) == 0 or values.max() == values.min():
            silent[g] = True
            continue
        deviation = values - values.mean()
        if scale != "none":
            over = values if scale == "group" else everything
            if len(over) <= ddof:
                continue
            deviation = deviation / (np.sqrt(((over - over.mean()) ** 2).sum() / (len(over) - ddof)) + eps)
        result[first:last][there] = deviation.astype(np.float64)
    return result, silent


def random_rewards(rng):
    sizes = rng.integers(0, 9, rng.integers(0, 6))
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    n = int(offsets[-1])
    kind = rng.integers(5)
    if kind == 0:
        rewards = rng.integers(0, 2, n).astype(np.float64)  # outcomes: many constant groups
    elif kind == 1:
        rewards = rng.normal(size=n)
    elif kind == 2:
        rewards = 1e9 + rng.integers(0, 3, n) * 1e-3  # small differences on a large offset
    elif kind == 3:
        rewards = rng.normal(size=n) * 10.0 ** rng.integers(-300, 150)
    else:
        rewards = np.repeat(rng.normal(size=len(sizes)) * 0.1, sizes)  # all equal within each group
    rewards[rng.random(n) < rng.choice([0.0, 0.3, 1.0], p=[0.6, 0.3, 0.1])] = np.nan
    return rewards, offsets


def test_advantages_equal_the_twin_over_generated_groups():
    rng = np.random.default_rng(7)
    silent_seen = 0
    for case in range(1500):
        rewards, offsets = random_rewards(rng)
        scale = ("group", "batch", "none")[case % 3]
        ddof, eps = int(rng.integers(2)), float(rng.choice([0.0, 1e-4]))
        got, zero_std = _core.group_advantages(rewards, offsets, scale, ddof, eps)
        want, silent = advantages_twin(rewards, offsets, scale, ddof, eps)
        assert got.dtype == np.float64 and zero_std.dtype == np.bool_
        size = np.abs(want).max(initial=0.0)
        # A mean of numbers near 1e9 is only known to a unit in their last place.
        magnitude = np.nanmax(np.abs(rewards), initial=0.0) if not np.isnan(rewards).all() else 0.0
        spread = np.nanstd(rewards) if scale == "batch" and magnitude else 1e-3
        slack = 1e-11 if magnitude < 1e8 or magnitude > 1e20 else 4e-16 * magnitude / max(spread, 1e-4)
        np.testing.assert_allclose(got, want, rtol=0, atol=max(slack * size, 1e-323), err_msg=f"case {case}")
        np.testing.assert_array_equal(zero_std, silent)
        silent_seen += int(silent.sum())
    assert silent_seen > 100


def test_advantages_by_hand():
    rewards = np.array([1.0, 0.0, 0.0, 1.0, 0.25, 0.25, 0.25, 3.0])
    got, zero_std = _core.group_advantages(rewards, np.array([0, 4, 7, 8]))
    assert got.tolist() == [1.0, -1.0, -1.0, 1.0, 0.0, 0.0, 0.0, 0.0]
    assert zero_std.tolist() == [False, True, True]
    centred, _ = _core.group_advantages(rewards, np.array([0, 4, 7, 8]), scale="none")
    assert centred.tolist() == [0.5, -0.5, -0.5, 0.5, 0.0, 0.0, 0.0, 0.0]


def test_equal_rewards_give_exact_zeros_where_rounding_would_not():
    value = 0.1 + 0.2
    rewards = np.full(7, value)
    assert np.std(np.full(7, value)) >= 0.0
    got, zero_std = _core.group_advantages(rewards, np.array([0, 7]))
    assert not got.any() and zero_std.all()


def test_not_applicable_rewards_are_left_out():
    rewards = np.array([np.nan, 2.0, 4.0, np.nan])
    got, zero_std = _core.group_advantages(rewards, np.array([0, 4]))
    assert got.tolist() == [0.0, -1.0, 1.0, 0.0] and not zero_std[0]
    nothing, silent = _core.group_advantages(np.full(3, np.nan), np.array([0, 3]))
    assert not nothing.any() and silent[0]


def test_tiny_and_huge_spreads_keep_unit_variance():
    for size in (1e-310, 1e-200, 1e200, 1e307):
        got, _ = _core.group_advantages(np.array([0.0, size, size, 0.0]), np.array([0, 4]))
        assert np.abs(got).tolist() == pytest.approx([1.0] * 4, rel=1e-12)
    with pytest.raises(FloatingPointError, match="overflow"):
        _core.group_advantages(np.array([1.7e308, -1.7e308, 1.7e308]), np.array([0, 3]), "none")


@pytest.mark.parametrize(
    ("offsets", "message"),
    [
        ([0, 3], "must run from 0 to 4"),
        ([1, 4], "must run from 0 to 4"),
        ([0, 3, 2, 4], "less than the one before"),
    ],
)
def test_bad_offsets_are_refused(offsets, message):
    with pytest.raises(ValueError, match=message):
        _core.group_advantages(np.zeros(4), np.array(offsets, np.int64))


def test_bad_parameters_are_refused():
    rewards, offsets = np.array([0.0, 1.0]), np.array([0, 2])
    with pytest.raises(ValueError, match="rewards\\[1\\] is infinite"):
        _core.group_advantages(np.array([0.0, INF]), offsets)
    with pytest.raises(ValueError, match="expected 'group', 'batch' or 'none', got 'std'"):
        _core.group_advantages(rewards, offsets, "std")
    with pytest.raises(ValueError, match="ddof is -1"):
        _core.group_advantages(rewards, offsets, ddof=-1)
    with pytest.raises(ValueError, match="eps is"):
        _core.group_advantages(rewards, offsets, eps=float("nan"))
    with pytest.raises(ValueError, match="G\\+1 >= 1"):
        _core.group_advantages(rewards, np.zeros(0, np.int64))
    with pytest.raises(
        TypeError, match="rewards: expected float64 C-contiguous \\(n,\\), got float32 \\(2,\\)"
    ):
        _core.group_advantages(rewards.astype(np.float32), offsets)


# --- policy loss ------------------------------------------------------------


def loss_twin(lp, old, ref, w_pos, w_neg, w_kl, low, high, beta, delta):
    """The loss over merged targets in float64, target by target, from the formula of design principle 4."""
    total, gradient = 0.0, np.zeros(len(lp))
    stats = dict(EMPTY_STATS)
    for n in range(len(lp)):
        if w_pos[n] == 0 and w_neg[n] == 0 and w_kl[n] == 0:
            continue
        x, wp, wn, wk = float(lp[n]), float(w_pos[n]), float(w_neg[n]), float(w_kl[n])
        r = math.exp(x - float(old[n]))
        if wp:
            total -= wp * min(r, 1 + high)
            gradient[n] -= wp * r if r <= 1 + high else 0.0
            stats["clip_high"] += r > 1 + high
        if wn:
            total -= wn * max(min(r, delta), 1 - low)
            gradient[n] -= wn * r if 1 - low <= r <= delta else 0.0
            stats["clip_low"] += r < 1 - low
            stats["clip_delta"] += r > delta
        if ref is not None and wk:
            gap = float(ref[n]) - x
            k3 = math.expm1(gap) - gap
            total += beta * wk * k3
            gradient[n] += -beta * wk * math.expm1(gap)
            stats["kl_sum"] += wk * k3
            stats["kl_weight"] += wk
        stats["count"] += 1
        stats["ratio_sum"] += r
        stats["ratio_min"] = min(stats["ratio_min"], r)
        stats["ratio_max"] = max(stats["ratio_max"], r)
    return total, gradient, stats


def random_targets(rng):
    n = int(rng.integers(0, 30))
    old = -rng.exponential(2.0, n).astype(np.float32)
    spread = rng.choice([0.0, 0.05, 0.3, 2.0])
    lp = (old + rng.normal(size=n) * spread).astype(np.float32)
    ref = (lp + rng.normal(size=n) * rng.choice([0.0, 0.2, 3.0])).astype(np.float32)
    weight = rng.random((3, n)).astype(np.float32) * (rng.random((3, n)) < 0.7)
    masked = rng.random(n) < 0.15
    weight[:, masked] = 0.0
    lp[masked] = rng.choice([np.nan, np.inf, -np.inf])
    low, high = float(rng.choice([0.0, 0.2, 1.5, INF])), float(rng.choice([0.0, 0.2, 0.28, INF]))
    delta = float(1 + high + rng.choice([0.1, 2.0])) if high < INF and rng.random() < 0.4 else None
    has_ref = rng.random() < 0.6
    beta = float(rng.choice([0.0, 0.04, 1.0])) if has_ref else 0.0
    return [lp, old, ref if has_ref else None, weight[0], -weight[1], weight[2]], (low, high, beta, delta)


def test_policy_loss_equals_the_twin_over_generated_targets():
    rng = np.random.default_rng(11)
    seen = dict.fromkeys(("clip_low", "clip_high", "clip_delta"), 0)
    for case in range(1500):
        arrays, (low, high, beta, delta) = random_targets(rng)
        loss, gradient, stats = _core.policy_loss(*arrays, low, high, beta, delta)
        want, slope, sums = loss_twin(*arrays, low, high, beta, INF if delta is None else delta)
        assert loss == pytest.approx(want, rel=1e-12, abs=1e-12), case
        np.testing.assert_allclose(gradient, slope, rtol=1e-6, atol=1e-12, err_msg=f"case {case}")
        assert gradient.dtype == np.float32
        assert stats == pytest.approx(sums, rel=1e-12, abs=1e-12)
        for name in seen:
            seen[name] += stats[name]
    assert min(seen.values()) > 100


def test_policy_loss_gradient_by_finite_differences():
    rng = np.random.default_rng(3)
    checked = 0
    for _ in range(200):
        arrays, (low, high, beta, delta) = random_targets(rng)
        lp = arrays[0]
        usable = np.isfinite(lp)
        arrays = [None if a is None else a[usable].copy() for a in arrays]
        lp, old = arrays[0], arrays[1].astype(np.float64)
        _, gradient, _ = _core.policy_loss(*arrays, low, high, beta, delta)
        for n in range(len(lp)):
            step = np.float32(2.0**-8)
            ratio = np.exp([lp[n] - step - old[n], lp[n] + step - old[n]])
            kinks = [1 - low, 1 + high, delta or INF]
            if any(ratio[0] <= kink <= ratio[1] for kink in kinks):
                continue
            losses = []
            for shift in (-step, step):
                moved = [None if a is None else a[n : n + 1].copy() for a in arrays]
                moved[0] += shift
                losses.append((_core.policy_loss(*moved, low, high, beta, delta)[0], float(moved[0][0])))
            slope = (losses[1][0] - losses[0][0]) / (losses[1][1] - losses[0][1])
            assert float(gradient[n]) == pytest.approx(slope, rel=1e-3, abs=1e-4)
            checked += 1
    assert checked > 1000


def test_a_shared_target_is_the_sum_of_its_responses():
    """Merging by W+ and W- (design principle 4) is exact for any mix of advantages."""
    rng = np.random.default_rng(5)
    for _ in range(300):
        responses = int(rng.integers(1, 6))
        weight, advantage = rng.random(responses), rng.normal(size=responses)
        lp = np.float32(-rng.exponential())
        old = np.float32(lp + rng.normal() * 0.4)
        one = lambda value: np.array([value], np.float32)  # noqa: E731
        merged, gradient, _ = _core.policy_loss(
            one(lp),
            one(old),
            None,
            one((weight * np.maximum(advantage, 0)).sum()),
            one((weight * np.minimum(advantage, 0)).sum()),
            one(weight.sum()),
            0.2,
            0.28,
            0.0,
        )
        ratio = np.exp(np.float64(lp) - np.float64(old))
        flat = -(weight * np.minimum(ratio * advantage, np.clip(ratio, 0.8, 1.28) * advantage)).sum()
        assert merged == pytest.approx(flat, rel=1e-6, abs=1e-7)
        unclipped = np.where(advantage > 0, ratio <= 1.28, ratio >= 0.8)
        assert gradient[0] == pytest.approx(
            -(weight * advantage * ratio * unclipped).sum(), rel=1e-5, abs=1e-6
        )


def test_on_policy_loss_is_minus_the_weighted_advantages():
    lp = np.array([-1.0, -2.0, -0.5], np.float32)
    w_pos, w_neg = np.array([0.5, 0.0, 0.25], np.float32), np.array([0.0, -1.0, -0.125], np.float32)
    loss, gradient, stats = _core.policy_loss(
        lp, lp, None, w_pos, w_neg, np.ones(3, np.float32), 0.2, 0.2, 0.0
    )
    assert loss == 0.375
    assert gradient.tolist() == [-0.5, 1.0, -0.125]
    assert (stats["ratio_min"], stats["ratio_max"], stats["ratio_sum"]) == (1.0, 1.0, 3.0)
    assert stats["clip_low"] == stats["clip_high"] == 0


def test_stats_of_micro_batches_add_up():
    rng = np.random.default_rng(2)
    old = -rng.exponential(size=20).astype(np.float32)
    lp = old + rng.normal(size=20).astype(np.float32)
    w = rng.random(20).astype(np.float32)
    whole_loss, whole_gradient, whole = _core.policy_loss(lp, old, old, w, -w, w, 0.2, 0.2, 0.1)
    parts = [
        _core.policy_loss(lp[c], old[c], old[c], w[c], -w[c], w[c], 0.2, 0.2, 0.1)
        for c in (slice(0, 7), slice(7, 20))
    ]
    assert sum(part[0] for part in parts) == pytest.approx(whole_loss, rel=1e-12)
    np.testing.assert_array_equal(np.concatenate([part[1] for part in parts]), whole_gradient)
    for name in ("count", "clip_low", "clip_high", "ratio_sum", "kl_sum", "kl_weight"):
        assert sum(part[2][name] for part in parts) == pytest.approx(whole[name], rel=1e-12)
    assert min(part[2]["ratio_min"] for part in parts) == whole["ratio_min"]


def test_no_targets():
    none = np.zeros(0, np.float32)
    loss, gradient, stats = _core.policy_loss(none, none, none, none, none, none, 0.2, 0.2, 0.1)
    assert loss == 0.0 and gradient.shape == (0,) and stats == EMPTY_STATS


def test_non_finite_terms_are_named_when_they_count_and_ignored_when_masked():
    def call(lp, old, ref=(-1.0, -1.0), weight=(1.0, 1.0), beta=0.1):
        lp, old, ref, weight = (np.array(a, np.float32) for a in (lp, old, ref, weight))
        return _core.policy_loss(lp, old, ref, weight, -weight, weight, 0.2, 0.2, beta)

    with pytest.raises(FloatingPointError, match="target 1: the loss is not finite"):
        call([-1.0, np.nan], [-1.0, -1.0])
    with pytest.raises(FloatingPointError, match="target 0"):
        call([-1.0, -1.0], [-1e4, -1.0])
    with pytest.raises(FloatingPointError, match="target 0"):
        call([-1.0, -1.0], [-1.0, -1.0], ref=[np.inf, -1.0])
    with pytest.raises(FloatingPointError, match="target 0"):
        call([-1.0, -1.0], [-1.0, -1.0], ref=[1e4, -1.0], beta=0.0)
    loss, gradient, stats = call([-1.0, np.nan], [-1.0, np.inf], [np.nan, -1.0][::-1], [1.0, 0.0])
    assert math.isfinite(loss) and gradient[1] == 0.0 and stats["count"] == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(epsilon_low=-0.1), "epsilon_low is -0.1"),
        (dict(epsilon_high=float("nan")), "epsilon_high is"),
        (dict(beta=-1.0), "beta is -1"),
        (dict(beta=0.1, ref=None), "no reference log-probabilities"),
        (dict(delta=1.1), "delta is 1.1, must exceed 1 \\+ epsilon_high = 1.2"),
        (dict(w_pos=[-1.0, 0.0]), "w_pos\\[0\\] is -1, must be finite and 0 or more"),
        (dict(w_neg=[0.0, 1.0]), "w_neg\\[1\\] is 1, must be finite and 0 or less"),
        (dict(w_kl=[0.0, np.nan]), "w_kl\\[1\\]"),
        (dict(old=[0.0]), "old: expected float32 C-contiguous \\(N,\\) = \\(2,\\), got float32 \\(1,\\)"),
    ],
)
def test_bad_arguments_of_the_loss_are_refused(changes, message):
    two = [-1.0, -1.0]
    arguments = (
        dict(
            logprobs=two,
            old=two,
            ref=two,
            w_pos=[1.0, 1.0],
            w_neg=two,
            w_kl=[1.0, 1.0],
            epsilon_low=0.2,
            epsilon_high=0.2,
            beta=0.0,
            delta=None,
        )
        | changes
    )
    arrays = {k: np.array(v, np.float32) if isinstance(v, list) else v for k, v in arguments.items()}
    with pytest.raises(ValueError, match=message):
        _core.policy_loss(**arrays)
