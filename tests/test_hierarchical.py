"""Advantages with a baseline per plan: against the reference, by hand, and through the packing seam."""

from __future__ import annotations

import math

import numpy as np
import pytest
import training_toys
from rl_helpers import flat, random_tree, tree
from test_packing import targets_of
from training_toys import QUESTIONS

from ptagrpo import _core, reference
from ptagrpo.algorithms import AdvantageSettings, assign_advantages
from ptagrpo.errors import ConfigError
from ptagrpo.packing import LOSS_TYPES, loss_weights, pack_groups
from ptagrpo.training import GRPOConfig, PTAGRPOConfig, PTAGRPOTrainer

HIERARCHICAL = AdvantageSettings(advantage_mode="hierarchical", scale_rewards="none")


def rewarded(table, name="q"):
    """A tree with the rewards of `table`[m][z]."""
    group = tree(np.random.default_rng(0), name, [2] * len(table), [[3] * len(table[0])] * len(table))
    for response, reward in zip(group.responses, np.ravel(table), strict=True):
        response.reward = float(reward)
    return group


def tables(group):
    shape = group.num_plans, group.cots_per_plan
    chains = np.array([response.advantage for response in group.responses]).reshape(shape)
    plans = np.array([response.plan_advantage for response in group.responses]).reshape(shape)
    assert (plans == plans[:, :1]).all()
    return plans[:, 0], chains


def test_by_hand():
    group = rewarded([[1, 1, 0], [0, 0, 0]])
    assign_advantages([group], HIERARCHICAL)
    plans, chains = tables(group)
    assert plans == pytest.approx([2 / 3, -2 / 3])  # against the mean of the other plan
    assert chains[0] == pytest.approx([1 / 2, 1 / 2, -1])  # against the mean of the two siblings
    assert chains[1].tolist() == [0, 0, 0]
    assign_advantages([group], AdvantageSettings(advantage_mode="hierarchical"))
    scaled_plans, scaled = tables(group)
    std = np.std([1, 1, 0, 0, 0, 0])
    assert scaled_plans == pytest.approx(plans / std) and scaled == pytest.approx(chains / std)
    assign_advantages([group], AdvantageSettings())
    assert all(response.plan_advantage is None for response in group.responses)


def test_equals_the_reference_on_two_thousand_batches():
    rng = np.random.default_rng(11)
    worst = 0.0
    for _ in range(2000):
        groups = []
        for _ in range(int(rng.integers(1, 4))):
            m, z = (int(n) for n in rng.integers(2, 5, 2))
            table = rng.choice([0.0, 0.2, 1.0, 1.3], (m, z)) + rng.choice([0.0, 0.1], (m, z))
            if rng.random() < 0.3:
                table = np.full((m, z), rng.normal())
            if rng.random() < 0.3:
                table[rng.random((m, z)) < rng.choice([0.3, 1.0])] = np.nan
            groups.append(rewarded(table))
        scale = str(rng.choice(["group", "batch", "none"]))
        ddof, eps = int(rng.integers(2)), float(rng.choice([0.0, 1e-4]))
        everything = np.array([response.reward for group in groups for response in group.responses])
        stats = assign_advantages(groups, AdvantageSettings(scale, ddof, eps, "hierarchical"))
        assert stats.num_groups == len(groups)
        for group in groups:
            table = np.array([r.reward for r in group.responses]).reshape(group.num_plans, -1)
            expected = reference.hierarchical_advantages(table, scale, ddof, eps, everything)
            for got, wanted in zip(tables(group), expected, strict=True):
                assert np.isfinite(got).all()
                worst = max(worst, float(np.abs(got - wanted).max()))
            assert not tables(group)[1][np.isnan(table)].any()
    assert worst <= 1e-11, worst


def test_constant_groups_and_constant_plans_get_exact_zeros():
    equal, plan_only = rewarded([[0.1 + 0.2] * 3] * 2), rewarded([[0.3] * 3, [0.1] * 3])
    assign_advantages(
        [equal, plan_only], AdvantageSettings(advantage_mode="hierarchical", advantage_eps=1e-9)
    )
    assert not any(np.any(part) for part in tables(equal))
    plans, chains = tables(plan_only)
    assert not chains.any() and plans == pytest.approx([2.0, -2.0], rel=1e-6)


def test_merged_loss_and_gradient_equal_the_flat_reference():
    """The seam: plan targets carry the plan's advantage z times, chain targets their own."""
    rng = np.random.default_rng(13)
    worst_loss = worst_gradient = 0.0
    for case in range(600):
        groups = [random_tree(rng, str(i)) for i in range(int(rng.integers(1, 4)))]
        responses = [response for group in groups for response in group.responses]
        for response in responses:
            response.advantage = float(rng.choice([rng.normal() * 2, 0.0, 1.0, -1.0]))
            response.plan_advantage = float(rng.normal())
        loss_type = LOSS_TYPES[case % 4]
        batch = pack_groups(groups, loss_weights(groups, loss_type, 30))
        logprobs = (batch.old + rng.normal(size=len(batch.old)) * 0.3).astype(np.float32)
        loss, gradient, _ = _core.policy_loss(
            logprobs, batch.old, None, batch.w_pos, batch.w_neg, batch.w_kl, 0.2, 0.28, 0.0
        )
        rows = [row for group_rows in targets_of(groups) for row in group_rows]
        per_token = [
            np.where(
                np.arange(response.length) < len(group.segments[response.path[0]].token_ids),
                response.plan_advantage,
                response.advantage,
            )
            for group in groups
            for response in group.responses
        ]
        expected_loss, gradients = reference.policy_loss(
            [logprobs[row].astype(np.float64) for row in rows],
            [batch.old[row].astype(np.float64) for row in rows],
            None,
            per_token,
            reference.token_weights(np.array([r.length for r in responses]), loss_type, 30),
            epsilon_low=0.2,
            epsilon_high=0.28,
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
    assert worst_loss <= 1e-6 and worst_gradient <= 1e-6, (worst_loss, worst_gradient)


def test_the_policy_gradient_stays_unbiased_and_chain_tokens_lose_the_noise_of_the_plan():
    """A policy that draws one of two plans and, under it, one of two chains: enumeration over many draws.

    The gradient of the expected reward by the logits has a closed form; both modes must have it as their mean,
    and the hierarchical one less variance in the chains' logits where plans differ much.
    """
    rng = np.random.default_rng(17)
    p_plan, p_chain = 0.4, np.array([0.3, 0.6])  # chance of plan 1; of chain 1 under each plan
    reward = np.array([[0.0, 0.4], [3.0, 3.2]])
    value = (1 - p_chain) * reward[:, 0] + p_chain * reward[:, 1]
    true_plan = p_plan * (1 - p_plan) * (value[1] - value[0])
    share = np.array([1 - p_plan, p_plan])
    true_chain = share * p_chain * (1 - p_chain) * (reward[:, 1] - reward[:, 0])
    m, z, draws = 3, 3, 5000
    sums = {mode: np.zeros((2, 3)) for mode in ("group", "hierarchical")}  # mean and square of 3 gradients
    for _ in range(draws):
        plans = (rng.random(m) < p_plan).astype(int)
        chains = (rng.random((m, z)) < p_chain[plans][:, None]).astype(int)
        group = rewarded(reward[plans[:, None], chains])
        for mode, found in sums.items():
            assign_advantages([group], AdvantageSettings("none", advantage_mode=mode))
            own = np.array([r.advantage for r in group.responses]).reshape(m, z)
            if mode == "hierarchical":
                of_plan = np.array([r.plan_advantage for r in group.responses]).reshape(m, z)
            else:
                own = (
                    own * (m * z) / (m * z - 1)
                )  # a group's own mean is not leave-one-out: undo the shrinkage
                of_plan = own
            gradient = [(of_plan.mean(axis=1) * (plans - p_plan)).mean()]
            for plan in (0, 1):
                score = (chains - p_chain[plan]) * (plans == plan)[:, None]
                gradient.append((own * score).mean())
            found[0] += gradient
            found[1] += np.square(gradient)
    means = {mode: found[0] / draws for mode, found in sums.items()}
    deviation = {mode: np.sqrt(found[1] / draws - means[mode] ** 2) for mode, found in sums.items()}
    error = deviation["hierarchical"] / math.sqrt(draws)
    assert np.all(np.abs(means["hierarchical"] - [true_plan, *true_chain]) < 4 * error)
    assert np.all(deviation["hierarchical"][1:] < 0.6 * deviation["group"][1:])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: GRPOConfig(advantage_mode="hierarchical"), "flat groups have no plans"),
        (
            lambda: PTAGRPOConfig(advantage_mode="hierarchical", num_plans=4, cots_per_plan=1),
            "cots_per_plan >= 2; got 4 and 1",
        ),
        (lambda: PTAGRPOConfig(advantage_mode="hierarchic"), r"Did you mean 'hierarchical'\?"),
        (
            lambda: assign_advantages([flat(np.random.default_rng(0), "f", [1, 1])], HIERARCHICAL),
            "got 2 and 1",
        ),
        (
            lambda: assign_advantages([rewarded([[1, 0]] * 2)], AdvantageSettings(advantage_mode="tree")),
            "advantage_mode: got 'tree'",
        ),
    ],
)
def test_what_it_cannot_do_is_refused(make, message):
    with pytest.raises(ConfigError, match=message):
        make()


def options(folder, **changes):
    return PTAGRPOConfig(
        output_dir=str(folder), num_plans=2, cots_per_plan=2, max_completion_length=8, max_plan_length=3,
        per_device_train_batch_size=8, steps_per_generation=2, logging_steps=1, save_steps=1,
        learning_rate=1e-2, prompt_style="raw", answer_kind="exact", disable_tqdm=True, log_completions=True,
        advantage_mode="hierarchical", **{"max_steps": 4, **changes},
    )  # fmt: skip


def test_training_with_it_resumes_in_the_middle_of_a_rollout(tmp_path):
    def trainer(folder, **changes):
        return PTAGRPOTrainer(
            training_toys.policy(), [training_toys.short], options(folder, **changes), QUESTIONS
        )

    whole = trainer(tmp_path / "whole")
    whole.train()
    assert any(row["grad_norm"] > 0 for row in whole.state.log_history)
    trainer(tmp_path / "parts", max_steps=3).train()  # stops after the first of a rollout's two steps
    second = trainer(tmp_path / "parts")
    second.train(resume_from_checkpoint="auto")
    for name, weight in whole.policy.model.parameters().items():
        assert np.array_equal(weight, second.policy.model.parameters()[name]), name
    text = (tmp_path / "whole" / "completions" / "completions_00001.jsonl").read_text()
    assert '"plan_advantage": ' in text and '"plan_advantage": null' not in text
