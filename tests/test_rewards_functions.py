"""A user's reward functions: how they are called, and what happens when they misbehave."""

import asyncio
import functools
import math
import threading
import time
from decimal import Decimal

import numpy as np
import pytest
from patience import patience
from rl_helpers import TextJudge, answer_text, flat, tree

from ptagrpo import rewards
from ptagrpo.errors import ConfigError, RewardError
from ptagrpo.rewards import RewardSettings, score_groups

ONLY_FUNCTIONS = RewardSettings(
    outcome_reward=0, plan_reward_weight=0, structure_reward=0, length_reward_weight=0, reward_timeout=5.0
)


def sample_groups():
    rng = np.random.default_rng(0)
    texts = [answer_text(right) for right in (True, False, True, True)]
    first = tree(rng, "a", [2, 3], [[3, 4], [1, 2]], texts=texts)
    first.question.columns = {"level": 3, "solution": "see \\boxed{1}"}
    second = flat(rng, "b", [5, 6], texts=[answer_text(True)] * 2)
    second.question.prompt = [{"role": "user", "content": "What?"}]
    second.question.columns = {"topic": "algebra"}
    return [first, second]


def score(func, groups=None, weights=None, settings=ONLY_FUNCTIONS, **options):
    groups = sample_groups() if groups is None else groups
    funcs = func if isinstance(func, list) else [func]
    stats = score_groups(groups, settings, TextJudge(), funcs, weights, **options)
    return groups, stats


def values(groups, name):
    return [response.rewards[name] for group in groups for response in group.responses]


def test_every_keyword_of_trl_and_ours_arrives():
    seen = {}

    def everything(**kwargs):
        seen.update(kwargs)
        return [0.0] * 6

    groups, _ = score(everything, trainer_state="state")
    assert seen["prompts"] == ["p"] * 4 + [[{"role": "user", "content": "What?"}]] * 2
    assert seen["completions"][0] == answer_text(True)
    assert seen["completions"][5] == [{"role": "assistant", "content": answer_text(True)}]
    first = groups[0]
    path = [token for s in (1, 2) for token in first.segments[s].token_ids.tolist()]
    assert seen["completion_ids"][0] == path and len(seen["completion_ids"][5]) == 6
    assert seen["trainer_state"] == "state"
    assert seen["level"] == [3] * 4 + [None] * 2
    assert seen["topic"] == [None] * 4 + ["algebra"] * 2
    assert seen["solution"] == ["see \\boxed{1}"] * 4 + [None] * 2
    assert seen["answer"] == ["1"] * 6
    assert seen["plans"] == ["p"] * 6
    assert seen["plan_index"] == [0, 0, 1, 1, 0, 1]
    assert seen["cot_index"] == [0, 1, 0, 1, 0, 0]
    assert seen["group_id"] == ["a"] * 4 + ["b"] * 2
    assert callable(seen["log_extra"]) and callable(seen["log_metric"])


def test_only_the_accepted_keywords_are_passed():
    def narrow(completions, *, plan_index):
        return [float(index) for index in plan_index]

    groups, _ = score(narrow)
    assert values(groups, "narrow") == [0.0, 0.0, 1.0, 1.0, 0.0, 1.0]

    def optional(completions, unknown="default"):
        assert unknown == "default"
        return [1.0] * len(completions)

    score(optional)


def test_a_missing_column_is_named_with_a_suggestion():
    def wants(completions, levels):
        return [0.0] * len(completions)

    with pytest.raises(RewardError, match=r"'wants' wants 'levels'.*Did you mean 'level'\?"):
        score(wants)


def test_functions_get_lists_of_their_own():
    def greedy(completions, **kwargs):
        completions.clear()
        return [1.0] * 6

    def after(completions, **kwargs):
        return [float(len(completions))] * 6

    groups, _ = score([greedy, after])
    assert values(groups, "after") == [6.0] * 6


def test_weights_none_and_sum():
    def first(completions, **kwargs):
        return [1.0, None, 2.0, None, 0.0, 5.0]

    async def second(completions, **kwargs):
        await asyncio.sleep(0.001)
        return [10, None, None, np.float32(0.5), True, 0]

    groups, _ = score([first, second], weights=[2.0, 0.1])
    got = [response.reward for group in groups for response in group.responses]
    assert math.isnan(got[1])
    assert got[:1] + got[2:] == pytest.approx([3.0, 4.0, 0.05, 0.1, 10.0])
    assert values(groups, "second") == [10.0, None, None, 0.5, 1.0, 0.0]


def test_what_kinds_of_functions_and_results_are_fine():
    class Scorer:
        def __call__(self, completions, **kwargs):
            return np.arange(len(completions), dtype=np.float32)

    def scaled(completions, factor, **kwargs):
        return tuple(factor for _ in completions)

    def zero_d(completions, **kwargs):
        return [np.array(3.0) for _ in completions]

    groups, _ = score([Scorer(), functools.partial(scaled, factor=2), zero_d, lambda completions: [0] * 6])
    assert values(groups, "Scorer") == [0, 1, 2, 3, 4, 5]
    assert values(groups, "scaled") == [2.0] * 6
    assert values(groups, "zero_d") == [3.0] * 6
    assert values(groups, "<lambda>") == [0.0] * 6


def test_equal_names_are_kept_apart():
    def outcome(completions, **kwargs):
        return [0.25] * len(completions)

    settings = RewardSettings(plan_reward_weight=0, structure_reward=0, length_reward_weight=0)
    groups, _ = score([outcome, outcome], settings=settings)
    assert set(groups[0].responses[0].rewards) == {"outcome", "outcome_2", "outcome_3"}
    assert groups[0].responses[0].reward == 1.5


def test_log_extra_and_log_metric():
    def chatty(completions, log_extra, log_metric, **kwargs):
        log_extra("size", [len(completion) for completion in completions])
        log_metric("share", 1.0)
        log_metric("share", 0.0)
        return [0.0] * len(completions)

    _, stats = score(chatty)
    assert stats.metrics == {"share": 0.5} and len(stats.extra["size"]) == 6

    def wrong(completions, log_extra):
        log_extra("size", [1])
        return [0.0] * len(completions)

    with pytest.raises(RewardError, match="1 values for 6 completions"):
        score(wrong)


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        ([1.0] * 5, "'bad' returned 5 values for 6 completions"),
        ([1.0] * 7, "'bad' returned 7 values for 6"),
        ([], "'bad' returned 0 values"),
        (None, r"returned None \(NoneType\); expected a list of 6"),
        (1.0, r"returned 1.0 \(float\)"),
        ("111111", r"returned '111111' \(str\)"),
        ({"score": 1}, r"\(dict\)"),
        ([0, 0, 0, float("nan"), 0, 0], r"'bad', row 3 \(question 'a', plan 1, chain 1\): got nan"),
        ([0, 0, 0, 0, float("-inf"), 0], r"row 4 \(question 'b', plan 0, chain 0\): got -inf"),
        ([0, "1.0", 0, 0, 0, 0], r"row 1 .*got '1.0'"),
        ([0, 0, [1], 0, 0, 0], r"row 2 .*got \[1\]"),
        ([0, 0, 0, 0, 0, Decimal("1")], r"row 5 .*got Decimal"),
        (np.zeros((6, 2)), r"row 0 .*got \[0.0, 0.0\]"),
    ],
)
def test_what_is_not_one_number_per_response_is_refused(returned, message):
    def bad(completions, **kwargs):
        return returned

    groups = sample_groups()
    before = repr(groups)
    with pytest.raises(RewardError, match=message):
        score(bad, groups)
    assert repr(groups) == before


def test_a_function_that_raises_is_named_and_its_error_kept():
    async def raises(completions, **kwargs):
        raise ZeroDivisionError("by nothing")

    with pytest.raises(RewardError, match="'raises' raised ZeroDivisionError: by nothing") as caught:
        score(raises)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)

    def leaves(completions, **kwargs):
        raise SystemExit(3)

    with pytest.raises(RewardError, match="'leaves' raised SystemExit"):
        score(leaves)


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_function_that_hangs_is_given_up(kind):
    release = threading.Event()

    def hangs(completions, **kwargs):
        release.wait(30)
        return [0.0] * len(completions)

    async def hangs_async(completions, **kwargs):
        while not release.is_set():
            await asyncio.sleep(0.01)
        return [0.0] * len(completions)

    settings = RewardSettings(reward_timeout=0.2)
    groups = sample_groups()
    before = repr(groups)
    start = time.monotonic()
    name = "hangs" if kind == "sync" else "hangs_async"
    with pytest.raises(RewardError, match=f"'{name}' did not return within 0.2 s"):
        score(hangs if kind == "sync" else hangs_async, groups, settings=settings)
    assert time.monotonic() - start < patience(5)
    assert repr(groups) == before
    release.set()


def test_shipped_functions_by_name():
    assert {"accuracy_reward", "get_soft_overlong_punishment", "think_format_reward"} <= set(rewards.names())
    groups, _ = score(["accuracy_reward", "think_format_reward", "get_soft_overlong_punishment"])
    assert values(groups, "accuracy_reward") == [
        0.0,
        0.0,
        0.0,
        0.0,
        None,
        None,
    ]  # gold text is "see \boxed{1}"
    assert values(groups, "think_format_reward") == [0.0] * 6
    assert values(groups, "soft_overlong_punishment") == [0.0] * 6
    with pytest.raises(ConfigError, match="Did you mean 'accuracy_reward'"):
        rewards.load("acuracy_reward")
    with pytest.raises(ConfigError, match="cannot be imported"):
        rewards.load("no_such_package.rewards.f")
    assert rewards.load("math.fsum") is math.fsum
    with pytest.raises(ConfigError, match="expected functions or names"):
        score([3])


def test_accuracy_reward_uses_the_column_solution():
    groups = sample_groups()
    for group in groups:
        group.question.columns["solution"] = "1"
    groups, _ = score(["accuracy_reward"], groups)
    assert values(groups, "accuracy_reward") == [1.0, 0.0, 1.0, 1.0, 1.0, 1.0]


def test_accuracy_reward_alone_judges_mathematics():
    pytest.importorskip("math_verify")
    accuracy = rewards.load("accuracy_reward")
    completions = ["so \\boxed{\\frac{1}{2}}", [{"role": "assistant", "content": "\\boxed{3}"}], "\\boxed{4}"]
    assert accuracy(completions=completions, solution=["0.5", "4", None]) == [1.0, 0.0, None]


def test_factories_take_arguments_and_check_them():
    from ptagrpo.rewards.get_soft_overlong_punishment import get_soft_overlong_punishment

    func = get_soft_overlong_punishment(max_completion_len=8, soft_punish_cache=4)
    groups, _ = score(func)
    lengths = [response.length for group in groups for response in group.responses]
    assert values(groups, "soft_overlong_punishment") == [
        0.0 if n <= 4 else -1.0 if n >= 8 else (4 - n) / 4 for n in lengths
    ]
    with pytest.raises(ConfigError, match="soft_punish_cache: got 0"):
        get_soft_overlong_punishment(8, 0)
