"""Built-in rewards against the float64 twin, the edge cases of the paper's open points, and all-or-nothing
scoring."""

import math

import numpy as np
import pytest
from rl_helpers import TextJudge, answer_text, flat, tree

from ptagrpo import reference
from ptagrpo.errors import ConfigError, RewardError
from ptagrpo.rewards import RewardSettings, score_groups
from ptagrpo.rewards.length import length_rewards
from ptagrpo.rewards.overlong import overlong_reward
from ptagrpo.rewards.plan import plan_rewards, plan_scores


def scored_tree(rng, correct, follows, settings, lengths=None, name="q"):
    """Score an m x z tree with given verdicts; lengths are of the chains, each plan has 2 tokens."""
    m, z = correct.shape
    lengths = rng.integers(1, 9, (m, z)) if lengths is None else lengths
    texts = [answer_text(bool(c), bool(f)) for c, f in zip(correct.ravel(), follows.ravel(), strict=True)]
    group = tree(rng, name, [2] * m, [[int(n) for n in row] for row in lengths], texts=texts)
    score_groups([group], settings, TextJudge())
    return group, lengths + 2


def test_total_reward_equals_the_reference_on_a_thousand_trees():
    rng = np.random.default_rng(1)
    worst = 0.0
    for _ in range(1000):
        m, z = int(rng.integers(1, 6)), int(rng.integers(1, 5))
        correct = rng.random((m, z)) < rng.choice([0.0, 0.2, 0.5, 1.0])
        follows = rng.random((m, z)) < 0.5
        settings = RewardSettings(
            plan_reward_weight=float(rng.uniform(0.1, 2)),
            plan_temperature=float(10 ** rng.uniform(-3, 1)),
            structure_reward=float(rng.uniform(0.01, 1)),
            length_reward_weight=float(rng.uniform(0.01, 1)),
            length_reward_on=str(rng.choice(["all", "correct"])),
        )
        lengths = rng.integers(1, 9, (m, z)) if rng.random() < 0.8 else np.full((m, z), 4)
        group, totals = scored_tree(rng, correct, follows, settings, lengths)
        expected = reference.total_rewards(
            correct,
            follows,
            totals,
            beta=settings.plan_reward_weight,
            tau=settings.plan_temperature,
            structure=settings.structure_reward,
            alpha=settings.length_reward_weight,
            on=settings.length_reward_on,
        )
        got = np.array([response.reward for response in group.responses])
        worst = max(worst, float(np.abs(got - expected).max()))
        scores, rewards = reference.plan_reward(correct, settings.plan_temperature)
        assert np.allclose(group.plan_scores, scores, atol=1e-15, rtol=0)
        assert np.allclose(group.plan_rewards, rewards, atol=1e-14, rtol=0)
        assert math.isclose(sum(group.plan_rewards), 1.0, abs_tol=1e-12)
        assert [response.correct for response in group.responses] == correct.ravel().tolist()
    assert worst <= 1e-13


def test_parts_are_recorded_before_weighting():
    correct = np.array([[True, False], [False, False]])
    follows = np.array([[True, True], [False, True]])
    settings = RewardSettings(plan_reward_weight=0.5, plan_temperature=0.5, length_reward_weight=0.1)
    group, _ = scored_tree(np.random.default_rng(0), correct, follows, settings, np.array([[3, 3], [7, 5]]))
    first, second = group.responses[0], group.responses[2]
    share = math.exp(1.0) / (math.exp(1.0) + 1.0)
    assert first.rewards == pytest.approx({"outcome": 1.0, "plan": share, "structure": 0.2, "length": 0.1})
    assert second.rewards == pytest.approx(
        {"outcome": 0.0, "plan": 1 - share, "structure": 0.0, "length": 0.1 * math.exp(-1)}
    )
    assert first.reward == pytest.approx(1 + 0.5 * share + 0.2 + 0.1)
    assert group.plan_scores == [0.5, 0.0]
    assert first.answer == "1" and second.answer == "10"


def test_what_is_switched_off_is_neither_recorded_nor_summed():
    correct = np.array([[True, False]])
    settings = RewardSettings(plan_reward_weight=0.0, structure_reward=0.0, length_reward_weight=0.0)
    group, _ = scored_tree(np.random.default_rng(0), correct, correct, settings)
    assert [response.rewards for response in group.responses] == [{"outcome": 1.0}, {"outcome": 0.0}]
    assert [response.reward for response in group.responses] == [1.0, 0.0]
    off = RewardSettings(
        use_plan_reward=False, outcome_reward=0.0, structure_reward=0.2, length_reward_weight=0.0
    )
    group, _ = scored_tree(np.random.default_rng(0), correct, correct, off)
    assert [response.reward for response in group.responses] == [0.2, 0.0]
    assert group.responses[0].rewards["outcome"] == 1.0  # recorded for the log, weight 0


@pytest.mark.parametrize("on", ["all", "correct"])
def test_length_reward_edge_cases(on):
    assert length_rewards([3, 9], [False, False], 0.1, on) == [0.0, 0.0]  # no reference length
    assert length_rewards([4, 4, 4], [True, False, True], 0.1, "all") == [0.1] * 3  # T_max = T
    assert length_rewards([4, 4, 4], [True, False, True], 0.1, "correct") == [0.1, 0.0, 0.1]
    assert length_rewards([4, 9], [False, True], 0.1, on) == [0.0, 0.1]  # T_max = T, a shorter wrong one
    assert length_rewards([5], [True], 0.1, on) == [0.1]
    short_wrong = length_rewards([2, 4, 8], [False, True, True], 1.0, "all")
    assert short_wrong == pytest.approx([math.exp(-0.5), 1.0, math.exp(-1.0)])
    assert length_rewards([10**9, 1], [True, True], 1.0, on) == pytest.approx([math.exp(-1), 1.0])


def test_plan_reward_edge_cases():
    assert plan_rewards([0.0], 0.3) == [1.0]
    assert plan_rewards([0.0, 0.0, 0.0, 0.0], 0.3) == [0.25] * 4
    extreme = plan_rewards([0.0, 1.0, 1.0], 1e-300)
    assert extreme == [0.0, 0.5, 0.5]
    assert plan_rewards([0.0, 1.0], 1e9) == pytest.approx([0.5, 0.5])
    assert plan_scores([True, True, False, False, True, False], 3) == [1.0, 0.0, 0.5]


def test_overlong_reward_equals_the_reference():
    lengths = np.arange(0, 140)
    expected = reference.overlong_reward(lengths, 120, 24)
    assert [overlong_reward(int(n), 120, 24) for n in lengths] == pytest.approx(expected.tolist(), abs=1e-15)
    settings = RewardSettings(overlong_cache_fraction=0.2, max_completion_length=10, structure_reward=0.0)
    group = flat(np.random.default_rng(0), "q", [8, 9, 10], texts=[answer_text(True)] * 3)
    score_groups([group], settings, TextJudge())
    assert [response.rewards["overlong"] for response in group.responses] == [0.0, -0.5, -1.0]


def test_a_plan_that_ended_by_eos_is_scored_like_any_other():
    rng = np.random.default_rng(0)
    texts = [answer_text(True), answer_text(False), answer_text(True), answer_text(True)]
    group = tree(rng, "q", [2, 6], [[3, 4], None], texts=texts)
    judge = TextJudge()
    score_groups([group], RewardSettings(), judge)
    assert group.plan_scores == [0.5, 1.0]
    assert judge.asked == 2  # equal pairs of text and gold are judged once


def test_without_a_reference_answer_nothing_is_guessed():
    group = flat(np.random.default_rng(0), "q", [3, 4], answer=None, texts=[answer_text(True), "x"])
    stats = score_groups([group], RewardSettings(), None)
    assert [response.correct for response in group.responses] == [None, None]
    assert group.plan_scores == [] and not stats.verdicts
    assert group.responses[0].rewards == {"plan": None, "structure": 0.2, "length": None}
    assert group.responses[0].reward == 0.2 and group.responses[1].reward == 0.0
    bare = RewardSettings(structure_reward=0.0)
    score_groups([group], bare, None)
    assert all(math.isnan(response.reward) for response in group.responses)


def test_verdicts_are_counted_and_only_correct_is_correct():
    class Moody(TextJudge):
        def judge(self, items, kind="math"):
            verdicts = super().judge(items, kind)
            for verdict, status in zip(verdicts, ["correct", "timeout", "error"], strict=False):
                verdict.status = status
            return verdicts

    texts = [answer_text(True, answer=str(i)) for i in range(3)] + ["nothing"]
    group = flat(np.random.default_rng(0), "q", [3] * 4, texts=texts)
    stats = score_groups([group], RewardSettings(), Moody())
    assert stats.verdicts == {"correct": 1, "timeout": 1, "error": 1, "no_answer": 1}
    assert [response.correct for response in group.responses] == [True, False, False, False]


def test_a_failing_function_leaves_the_groups_as_they_were():
    def broken(completions, **kwargs):
        raise KeyError("oops")

    group = tree(np.random.default_rng(0), "q", [2], [[3, 4]], texts=[answer_text(True)] * 2)
    before = repr(group)
    with pytest.raises(RewardError, match="'broken' raised KeyError"):
        score_groups([group], RewardSettings(), TextJudge(), [broken])
    assert repr(group) == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"plan_temperature": 0.0}, "plan_temperature: got 0.0"),
        ({"plan_temperature": float("nan")}, "plan_temperature"),
        ({"length_reward_on": "right"}, "length_reward_on: got 'right'"),
        ({"structure_reward": float("inf")}, "structure_reward: got inf"),
        ({"overlong_cache_fraction": 1.5}, "overlong_cache_fraction"),
        ({"overlong_cache_fraction": 0.2}, "needs max_completion_length"),
        ({"reward_timeout": 0.0}, "reward_timeout"),
    ],
)
def test_settings_out_of_range(options, message):
    with pytest.raises(ConfigError, match=message):
        RewardSettings(**options)


def test_configuration_errors_of_scoring():
    group = flat(np.random.default_rng(0), "q", [3], texts=["x"])
    nothing = RewardSettings(
        outcome_reward=0, plan_reward_weight=0, structure_reward=0, length_reward_weight=0
    )
    with pytest.raises(ConfigError, match="no reward"):
        score_groups([group], nothing, TextJudge())
    with pytest.raises(ConfigError, match="2 weights for 1"):
        score_groups([group], nothing, TextJudge(), [lambda **k: [1.0]], [1.0, 2.0])
    with pytest.raises(ConfigError, match="no judge"):
        score_groups([group], RewardSettings(), None)
