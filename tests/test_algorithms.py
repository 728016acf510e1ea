"""Algorithms, advantages and the merged loss: the C core against the flat float64 reference."""

import math

import numpy as np
import pytest
from rl_helpers import flat, random_tree
from test_packing import targets_of

from ptagrpo import _core, algorithms, reference
from ptagrpo.algorithms import AdvantageSettings, assign_advantages
from ptagrpo.errors import ConfigError
from ptagrpo.packing import LOSS_TYPES, loss_weights, pack_groups


def with_rewards(rows):
    """Flat groups whose responses have the given rewards."""
    rng = np.random.default_rng(0)
    groups = [flat(rng, str(i), [1] * len(row)) for i, row in enumerate(rows)]
    for group, row in zip(groups, rows, strict=True):
        for response, reward in zip(group.responses, row, strict=True):
            response.reward = float(reward)
    return groups


def advantages_of(groups):
    return [np.array([response.advantage for response in group.responses]) for group in groups]


def random_rewards(rng):
    """Rewards as they come: graded, equal, nearly equal, with holes, empty."""
    kind = rng.integers(6)
    n = int(rng.integers(1, 13))
    if kind == 0:
        row = rng.normal(size=n) * 10.0 ** rng.integers(-8, 8)
    elif kind == 1:
        row = np.full(n, rng.normal())
    elif kind == 2:
        row = np.full(n, rng.normal())
        row[0] = np.nextafter(row[0], 2.0)
    else:
        row = rng.choice([0.0, 0.2, 1.0, 1.2], n) + rng.choice([0.0, 0.1, 0.25], n)
    if rng.random() < 0.3:
        row[rng.random(n) < rng.choice([0.3, 1.0])] = np.nan
    return row


def test_advantages_equal_the_reference_on_two_thousand_batches():
    rng = np.random.default_rng(3)
    worst = 0.0
    for _ in range(2000):
        rows = [random_rewards(rng) for _ in range(int(rng.integers(1, 5)))]
        scale = str(rng.choice(["group", "batch", "none"]))
        ddof, eps = int(rng.integers(2)), float(rng.choice([0.0, 1e-4]))
        groups = with_rewards(rows)
        stats = assign_advantages(groups, AdvantageSettings(scale, ddof, eps))
        for row, got, expected in zip(
            rows, advantages_of(groups), reference.advantages(rows, scale, ddof, eps), strict=True
        ):
            there = row[~np.isnan(row)]
            constant = len(there) == 0 or there.max() == there.min()
            assert np.isfinite(got).all()
            assert not got[np.isnan(row)].any()
            if constant:
                assert not got.any()
                continue
            # Rewards that differ in their last bits only have no advantage beyond those bits' rounding.
            noise = 4 * np.finfo(float).eps * np.abs(there).max() / there.std()
            worst = max(
                worst, float(np.abs(got - expected).max() / max(np.abs(expected).max(), 1e-300)) - noise
            )
        constants = [len(set(row[~np.isnan(row)])) <= 1 for row in rows]
        assert stats.num_zero_std == sum(constants) and stats.num_groups == len(rows)
        assert stats.frac_reward_zero_std == sum(constants) / len(rows)
        assert stats.num_not_applicable == sum(int(np.isnan(row).sum()) for row in rows)
    assert worst <= 1e-12


def test_advantages_by_hand():
    groups = with_rewards([[1, 0, 0, 1], [0.1, 0.1, 0.1], [math.nan, 2, 4], [math.nan] * 2, [5]])
    stats = assign_advantages(groups, AdvantageSettings())
    assert [row.tolist() for row in advantages_of(groups)] == [
        [1, -1, -1, 1], [0, 0, 0], [0, -1, 1], [0, 0], [0]
    ]  # fmt: skip
    assert stats.num_zero_std == 3 and stats.num_not_applicable == 3
    assert stats.reward_mean == pytest.approx((2 + 0.3 + 6 + 5) / 10)
    assert stats.reward_std == pytest.approx((0.5 + 0 + 1 + 0) / 4)
    assign_advantages(groups, AdvantageSettings(scale_rewards="none"))
    assert advantages_of(groups)[0].tolist() == [0.5, -0.5, -0.5, 0.5]
    assign_advantages(groups, AdvantageSettings(std_correction=1, advantage_eps=0.5))
    assert advantages_of(groups)[2] == pytest.approx([0, -1 / (math.sqrt(2) + 0.5), 1 / (math.sqrt(2) + 0.5)])


def test_the_residue_of_a_constant_group_is_no_advantage():
    # A float32 mean of equal rewards leaves a residue; dividing by it made advantages of 7428 (NeMo-RL 4161).
    groups = with_rewards([[0.1] * 11, [0.1 + 0.2] * 7])
    assign_advantages(groups, AdvantageSettings(advantage_eps=1e-9))
    assert not np.concatenate(advantages_of(groups)).any()


def test_no_groups_at_all():
    stats = assign_advantages([], AdvantageSettings())
    assert stats.num_groups == 0 and stats.frac_reward_zero_std == 0.0 and math.isnan(stats.reward_mean)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (AdvantageSettings(scale_rewards="groups"), r"scale_rewards: got 'groups'.*Did you mean 'group'\?"),
        (AdvantageSettings(std_correction=2), "std_correction: got 2"),
        (AdvantageSettings(advantage_eps=-1.0), "advantage_eps: got -1.0"),
    ],
)
def test_settings_out_of_range(settings, message):
    with pytest.raises(ConfigError, match=message):
        assign_advantages(with_rewards([[1, 0]]), settings)


def test_merged_loss_and_gradient_equal_the_flat_reference_on_a_thousand_batches():
    rng = np.random.default_rng(5)
    worst_loss = worst_gradient = 0.0
    seen = {"low": 0, "high": 0, "delta": 0}
    for case in range(1200):
        groups = [random_tree(rng, str(i)) for i in range(int(rng.integers(1, 4)))]
        responses = [response for group in groups for response in group.responses]
        for response in responses:
            response.advantage = float(rng.choice([rng.normal() * 2, 0.0, 1.0, -1.0]))
        loss_type = LOSS_TYPES[case % 4]
        batch = pack_groups(groups, loss_weights(groups, loss_type, 30))
        logprobs = (batch.old + rng.normal(size=len(batch.old)) * rng.choice([0.01, 0.3, 1.0])).astype(
            np.float32
        )
        beta = float(rng.choice([0.0, 0.04, 1.0]))
        ref = (logprobs + rng.normal(size=len(logprobs)) * 0.5).astype(np.float32) if beta else None
        low, high = float(rng.uniform(0.05, 0.3)), float(rng.uniform(0.05, 0.4))
        delta = 1.0 + high + float(rng.uniform(0.05, 2.0)) if rng.random() < 0.3 else None
        loss, gradient, stats = _core.policy_loss(
            logprobs, batch.old, ref, batch.w_pos, batch.w_neg, batch.w_kl, low, high, beta, delta
        )
        for side in seen:
            seen[side] += stats[f"clip_{side}"]
        rows = [row for group_rows in targets_of(groups) for row in group_rows]

        def per_response(values, rows=rows):
            return [values[row].astype(np.float64) for row in rows]

        expected_loss, gradients = reference.policy_loss(
            per_response(logprobs),
            per_response(batch.old),
            None if ref is None else per_response(ref),
            np.array([response.advantage for response in responses]),
            reference.token_weights(np.array([response.length for response in responses]), loss_type, 30),
            epsilon_low=low,
            epsilon_high=high,
            beta=beta,
            delta=delta,
        )
        expected, magnitude = np.zeros(len(logprobs)), np.zeros(len(logprobs))
        for row, part in zip(rows, gradients, strict=True):
            np.add.at(expected, row, part)
            np.add.at(magnitude, row, np.abs(part))
        scale = max(float(magnitude.sum()), 1e-12)
        worst_loss = max(worst_loss, abs(loss - expected_loss) / max(scale, abs(expected_loss)))
        worst_gradient = max(
            worst_gradient, float(np.abs(gradient - expected).max()) / max(magnitude.max(), 1e-12)
        )
    assert min(seen.values()) > 500  # every bound was active often
    assert worst_loss <= 1e-6, worst_loss
    assert worst_gradient <= 1e-6, worst_gradient


def test_the_reference_gradient_is_the_derivative_of_the_reference_loss():
    rng = np.random.default_rng(7)
    for _ in range(50):
        old = [rng.normal(size=int(n)) for n in rng.integers(1, 5, 3)]
        logprobs = [row + rng.normal(size=len(row)) * 0.4 for row in old]
        ref = [row + rng.normal(size=len(row)) * 0.4 for row in old]
        options = dict(epsilon_low=0.2, epsilon_high=0.28, beta=0.1, delta=float(rng.choice([1.5, 9.0])))
        advantage, weights = rng.normal(size=3), rng.random(3)
        _, gradients = reference.policy_loss(logprobs, old, ref, advantage, weights, **options)
        for k, row in enumerate(logprobs):
            for t in range(len(row)):
                values = []
                for sign in (1.0, -1.0):
                    moved = [other.copy() for other in logprobs]
                    moved[k][t] += sign * 1e-6
                    values.append(reference.policy_loss(moved, old, ref, advantage, weights, **options)[0])
                numeric = (values[0] - values[1]) / 2e-6
                assert numeric == pytest.approx(gradients[k][t], abs=1e-7, rel=1e-6)


def test_the_folder_is_the_registry():
    assert algorithms.names() == ["dapo", "dr_grpo", "grpo", "pta_grpo"]
    for name in algorithms.names():
        spec = algorithms.load(name)
        assert spec.name == name
        assert spec.tree == ("cots_per_plan" in spec.defaults)
        assert spec.defaults["loss_type"] in LOSS_TYPES
        with pytest.raises(TypeError):
            spec.defaults["beta"] = 1.0
    with pytest.raises(ConfigError, match=r"algorithm: got 'pta-grpo'.*Did you mean 'pta_grpo'\?"):
        algorithms.load("pta-grpo")
    for helper in ("spec", "advantages"):
        with pytest.raises(ConfigError):
            algorithms.load(helper)


def test_published_settings():
    dapo, dr_grpo, pta = (algorithms.load(name).defaults for name in ("dapo", "dr_grpo", "pta_grpo"))
    assert (dapo["epsilon"], dapo["epsilon_high"], dapo["loss_type"]) == (0.2, 0.28, "dapo")
    assert dapo["dynamic_sampling"] and dapo["overlong_cache_fraction"] == 4096 / 20480
    assert (dr_grpo["loss_type"], dr_grpo["scale_rewards"]) == ("dr_grpo", "none")
    assert (pta["num_plans"], pta["cots_per_plan"], pta["plan_reward_weight"]) == (4, 3, 0.5)
    assert (pta["structure_reward"], pta["std_correction"]) == (0.2, 0)


@pytest.mark.parametrize(
    ("correct", "rewards", "kept"),
    [
        ([True, False, True], [1, 0, 1], True),
        (
            [True, True, True],
            [1.0, 1.2, 1.1],
            False,
        ),  # all right: nothing to learn whatever the format rewards
        ([False, False, False], [0, 0, -1], False),
        ([None, None], [0.5, 0.5], False),
        ([None, None], [0.5, 0.6], True),
        ([None, None, None], [math.nan, 0.6, math.nan], False),
        ([None, None], [math.nan, math.nan], False),
    ],
)
def test_dynamic_sampling_keeps_mixed_groups(correct, rewards, kept):
    (group,) = with_rewards([rewards])
    for response, right in zip(group.responses, correct, strict=True):
        response.correct = right
    assert algorithms.load("dapo").keep_group(group) is kept
