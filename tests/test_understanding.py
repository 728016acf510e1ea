"""The metrics under plan/ on made-up groups whose values are known, and the sentences made of them."""

from __future__ import annotations

import math
import re
import warnings
from pathlib import Path

import numpy as np
import pytest
from rl_helpers import TextJudge, answer_text, flat, tree

from ptagrpo.algorithms import AdvantageSettings, assign_advantages
from ptagrpo.rewards import RewardSettings, score_groups
from ptagrpo.training.plan_warnings import PATIENCE, PlanWarning, PlanWarnings
from ptagrpo.understanding import (
    advantage_shares,
    answer_dependence,
    diversity,
    explain,
    leaks,
    outcome_signal,
    plan_form,
    plan_metrics,
    success,
    variance_components,
    variances,
)
from ptagrpo.understanding.dependence import equality_gram, gaussian_gram, hsic, permuted_hsic

ROOT = Path(__file__).resolve().parent.parent


def judged_tree(verdicts, name="q", plans=None, answer="1"):
    """A scored plan tree with the given verdicts[m][z]; plans[i]: text of plan i."""
    m, z = len(verdicts), len(verdicts[0])
    texts = []
    for i, row in enumerate(verdicts):
        plan = "p" if plans is None else plans[i]
        texts += [
            f"<plan> {plan} </plan> <think> t </think> <answer> {answer if right else answer + '0'} </answer>"
            for right in row
        ]
    group = tree(np.random.default_rng(0), name, [2] * m, [[3] * z] * m, texts=texts, answer=answer)
    return group


def scored(groups, **settings):
    options = {"length_reward_weight": 0.0, "structure_reward": 0.0, "answer_kind": "exact", **settings}
    stats = score_groups(groups, RewardSettings(**options), TextJudge())
    assign_advantages(groups, AdvantageSettings())
    return stats.weights


def test_success_and_its_spread():
    groups = [judged_tree([[1, 1], [0, 0]]), judged_tree([[1, 0], [0, 1]])]
    scored(groups, plan_temperature=0.5)
    found = success(groups)
    assert found["plan/success_mean"] == 0.5
    assert found["plan/success_spread"] == 0.5 and found["plan/tie_frac"] == 0.5
    assert found["plan/success_std"] == 0.25
    p = 1 / (1 + math.exp(-2.0))  # softmax of (1, 0) / 0.5
    entropy = -p * math.log(p) - (1 - p) * math.log(1 - p)
    assert found["plan/reward_entropy"] == pytest.approx((entropy + math.log(2)) / 2)
    lonely = [flat(np.random.default_rng(0), "f", [2, 2], texts=[answer_text(True)] * 2)]
    scored(lonely)
    assert success(lonely) == {}


def test_variance_components_by_hand():
    # Plan means 1 and 1/3; within: 0 and 2/3 over 2 (z - 1) = 4; between: 3 * 2 * (1/3)^2 = 2/3.
    between, within = variance_components(np.array([[1.0, 1, 1], [1, 0, 0]]))
    assert within == pytest.approx((2 / 3) / 4) and between == pytest.approx((2 / 3 - 1 / 6) / 3)


def test_variance_components_find_the_true_variances():
    rng = np.random.default_rng(1)
    tables = rng.normal(0, 2.0, (4000, 4, 1)) + rng.normal(0, 3.0, (4000, 4, 3))
    between, within = np.mean([variance_components(table) for table in tables], axis=0)
    assert between == pytest.approx(4.0, rel=0.05) and within == pytest.approx(9.0, rel=0.03)


def test_variance_share_is_one_where_the_plan_decides_and_zero_where_chance_does():
    decides, chance = [judged_tree([[1, 1], [0, 0]])], [judged_tree([[1, 0], [0, 1]])]
    for groups in (decides, chance):
        scored(groups)
    assert variances(decides)["plan/variance_share"] == 1.0
    found = variances(chance)
    assert found["plan/variance_share"] == 0.0 and found["plan/variance_between"] == pytest.approx(-0.25)
    nothing = [judged_tree([[1, 1], [1, 1]])]
    scored(nothing)
    assert variances(nothing) == {"plan/variance_between": 0.0, "plan/variance_within": 0.0}


def test_advantage_shares_add_up_to_one_and_equal_the_hand_computed_ones():
    groups = [judged_tree([[1, 1], [0, 0]])]
    weights = scored(groups, plan_temperature=0.5, plan_reward_weight=0.5)
    # Outcome (1,1,0,0) and 0.5 softmax (p,p,1-p,1-p) move together: covariances with R are as 1 to 0.5 (2p - 1).
    p = 1 / (1 + math.exp(-2.0))
    found = advantage_shares(groups, weights)
    assert found["plan/advantage_share/outcome"] == pytest.approx(1 / (1 + 0.5 * (2 * p - 1)))
    assert sum(found.values()) == pytest.approx(1.0)


def test_the_length_reward_hides_that_a_group_has_no_signal():
    rng = np.random.default_rng(0)
    right = [flat(rng, str(i), [2, 4, 6], texts=[answer_text(True)] * 3) for i in range(3)]
    mixed = [flat(rng, "m", [2, 2], texts=[answer_text(True), answer_text(False)])]
    weights = scored(right + mixed, length_reward_weight=0.1, plan_reward_weight=0.0)
    assert outcome_signal(right + mixed) == {"frac_no_outcome_signal": 0.75}
    assert all(len({r.reward for r in group.responses}) > 1 for group in right)  # no zero std anywhere
    found = advantage_shares(right + mixed, weights)
    # Squared advantages: 3 a group of the three of length only, 2 of the one of outcome only.
    assert found["plan/advantage_share/length"] == pytest.approx(9 / 11)
    assert found["plan/advantage_share/outcome"] == pytest.approx(2 / 11)
    assert outcome_signal([flat(rng, "x", [1])]) == {}


def test_a_reward_that_does_not_apply_counts_nothing():
    rng = np.random.default_rng(0)
    (group,) = groups = [flat(rng, "a", [1, 1, 1])]
    for response, value in zip(group.responses, (None, 1.0, 0.0), strict=True):
        response.rewards = {"f": value}
        response.reward = math.nan if value is None else value
    assign_advantages(groups, AdvantageSettings())
    assert advantage_shares(groups, {"f": 1.0, "off": 0.0}) == {"plan/advantage_share/f": 1.0}
    assert advantage_shares([flat(rng, "b", [1, 1])], {"f": 1.0}) == {}


def test_plan_length_and_unclosed_plans():
    texts = [answer_text(True), answer_text(True), "<plan> p", "no plan at all"]
    group = tree(np.random.default_rng(0), "q", [3, 5], [[2, 2], [2, 2]], texts=texts)
    assert plan_form([group]) == {"plan/unclosed_frac": 0.5, "plan/length_mean": 4.0}


def test_leaks_are_plans_that_state_the_reference_or_their_own_answer():
    plans = ["add them, which gives 42", "add them", "the total is 420", "find 42 pears"]
    groups = [judged_tree([[1], [1], [0], [1]], plans=plans, answer="42")]
    groups[0].question.prompt = "I have 40 pears and 2 more. How many are 42 pears?"
    # 1: states the reference; 2: nothing; 3: its own chain's wrong answer 420; 4: a number of the question.
    assert leaks(groups) == {"plan/leak_frac": 0.5}
    assert leaks([flat(np.random.default_rng(0), "f", [1, 1], texts=["a", "b"])]) == {}


def test_diversity_counts_different_plans():
    groups = [
        judged_tree([[1], [1], [1]], plans=["a b", "A  b", "c d"]),
        judged_tree([[1], [1], [1]], plans=["a", "b", "c"]),
    ]
    found = diversity(groups)
    assert found["plan/diversity"] == pytest.approx((1 / 2 + 1) / 2)
    # Pairs of the first: one equal, two with nothing in common; of the second: nothing in common.
    assert found["plan/distance"] == pytest.approx((2 / 3 + 1) / 2)
    assert diversity([judged_tree([[1]])]) == {}


def known_answers(truths, predictions):
    """One flat group a question, with one response."""
    groups = []
    for i, (truth, guess) in enumerate(zip(truths, predictions, strict=True)):
        text = f"<plan> p </plan> <think> t </think> <answer> {guess} </answer>"
        groups.append(flat(np.random.default_rng(0), str(i), [2], texts=[text], answer=truth))
    scored(groups)
    return groups


def test_hsic_of_perfect_answers_is_the_closed_form():
    truths = [str(i % 4) for i in range(40)]
    found = answer_dependence(known_answers(truths, truths))
    assert found["plan/hsic"] == pytest.approx((4 - 1) / 4**2)
    assert found["plan/hsic_normalized"] == pytest.approx(1.0)
    assert found["plan/hsic_null95"] < 0.3 * found["plan/hsic"]


def test_hsic_is_the_squared_distance_from_independence():
    rng = np.random.default_rng(2)
    first, second = rng.integers(0, 3, 50), rng.integers(0, 5, 50)
    joint = np.zeros((3, 5))
    np.add.at(joint, (first, second), 1 / 50)
    expected = ((joint - joint.sum(axis=1)[:, None] * joint.sum(axis=0)) ** 2).sum()
    assert hsic(equality_gram(first.tolist()), equality_gram(second.tolist())) == pytest.approx(expected)


def test_hsic_equals_its_definition_by_traces():
    rng = np.random.default_rng(3)
    x = rng.normal(size=30)
    first, second = gaussian_gram(x), gaussian_gram(x**2, bandwidth=0.7)
    centre = np.eye(30) - 1 / 30
    expected = np.trace(first @ centre @ second @ centre) / 900
    assert hsic(first, second) == pytest.approx(expected)
    with pytest.raises(ValueError, match="two square matrices"):
        hsic(first, second[:29])


def test_the_permutation_null_holds_its_level_and_finds_dependence():
    rng = np.random.default_rng(4)
    above = 0
    for trial in range(200):
        truth, guess = (equality_gram(rng.integers(0, 3, 30).tolist()) for _ in range(2))
        above += hsic(guess, truth) > np.quantile(permuted_hsic(guess, truth, 100, seed=trial), 0.95)
    assert above <= 22  # 5 % of 200 are 10; 22 is five sigma
    truths = [str(v) for v in rng.integers(0, 7, 60)]
    half_right = [t if rng.random() < 0.5 else str(rng.integers(0, 7)) for t in truths]
    found = answer_dependence(known_answers(truths, half_right))
    assert found["plan/hsic"] > found["plan/hsic_null95"]


def test_hsic_without_anything_to_compare():
    assert answer_dependence(known_answers(["1"], ["1"])) == {}
    assert answer_dependence(known_answers(["1", "1"], ["1", "2"])) == {}  # all true answers alike
    assert answer_dependence(known_answers(["1", "2"], ["3", "3"])) == {}  # all predictions alike


def test_every_metric_and_every_finding_is_documented():
    page = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    groups = [judged_tree([[1, 0], [0, 0]], "a"), judged_tree([[1, 1], [0, 1]], "b", answer="2")]
    weights = scored(groups)
    names = plan_metrics(groups, weights)
    assert len(names) >= 15
    for name in names:
        assert f"`{re.sub('share/(outcome|plan)', 'share/{name}', name)}`" in page, name
    from ptagrpo.understanding.explain import _RULES

    for rule in _RULES:
        assert f"`{rule.kind}`" in page, rule.kind


HEALTHY = {
    "reward": 1.0, "frac_reward_zero_std": 0.2, "frac_no_outcome_signal": 0.3, "plan/success_mean": 0.5,
    "plan/tie_frac": 0.3, "plan/advantage_share/outcome": 0.7, "plan/advantage_share/plan": 0.3,
    "plan/leak_frac": 0.0, "plan/unclosed_frac": 0.0, "plan/diversity": 0.8, "plan/variance_share": 0.4,
    "plan/variance_within": 0.1, "plan/hsic": 0.1, "plan/hsic_normalized": 0.5, "plan/hsic_null95": 0.02,
}  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("no_signal", {"frac_reward_zero_std": 0.95, "frac_no_outcome_signal": 0.95}),
        ("hidden_no_signal", {"frac_no_outcome_signal": 0.8}),
        ("outcome_drowned", {"plan/advantage_share/outcome": 0.1}),
        ("leak", {"plan/leak_frac": 0.5}),
        ("unclosed", {"plan/unclosed_frac": 0.5}),
        ("ties", {"plan/tie_frac": 0.9}),
        ("one_plan", {"plan/diversity": 0.0}),
        ("plan_does_not_matter", {"plan/variance_share": 0.0}),
        ("no_dependence", {"plan/hsic": 0.001, "plan/hsic_normalized": 0.01}),
    ],
)
def test_each_trouble_is_told_alone_with_its_value(kind, change):
    assert explain(HEALTHY) == [] and explain({}) == []
    (finding,) = explain({**HEALTHY, **change})
    assert finding.kind == kind
    value = next(iter(change.values()))
    assert f"{100 * value:.0f} %" in finding.text or f"{value:.2f}" in finding.text or "0.001" in finding.text


def test_warnings_wait_for_patience_and_come_once():
    class State:
        global_step = 7

    class Args:
        output_dir = "runs/one"

    callback = PlanWarnings()
    trouble, healthy = {**HEALTHY, "plan/leak_frac": 0.5}, HEALTHY
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        rows = [trouble] * (PATIENCE - 1) + [healthy] + [trouble] * (PATIENCE - 1) + [{"eval_reward": 1.0}]
        for row in rows:
            callback.on_log(Args, State, None, logs=row)
        assert caught == []
        for row in [trouble] * 5:
            callback.on_log(Args, State, None, logs=row)
    (message,) = caught
    assert message.category is PlanWarning and message.filename == "runs/one"
    assert str(message.message).startswith("step 7: 50 % of the plans")
