"""Scoring sampled groups: judge, built-in rewards, user functions, total. All of a batch, or nothing of it.

Everything is computed first and written into the responses last, so a reward function that raises or hangs
leaves the groups as they were.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..errors import ConfigError
from ..records import Group
from . import functions
from .compose import total_reward
from .length import length_rewards
from .outcome import AnswerJudge, Verdict, judge_responses, outcome_reward
from .overlong import overlong_reward
from .plan import plan_rewards, plan_scores
from .settings import RewardSettings
from .structure import structure_reward

BUILT_IN = ("outcome", "plan", "structure", "length", "overlong")


@dataclass
class RewardStats:
    """What a scoring pass has to say besides the rewards themselves.

    verdicts: how many responses were "correct", "wrong", "no_answer", "timeout", "error".
    metrics: what user functions passed to `log_metric(name, value)`; the mean if a name came more than once.
    extra: what user functions passed to `log_extra(column, values)`, one value per response.
    weights: weight of each part in the total reward.
    """

    verdicts: Counter[str] = field(default_factory=Counter)
    metrics: dict[str, float] = field(default_factory=dict)
    extra: dict[str, list[Any]] = field(default_factory=dict)
    weights: dict[str, float] = field(default_factory=dict)


def score_groups(
    groups: Sequence[Group],
    settings: RewardSettings,
    judge: AnswerJudge | None,
    reward_funcs: Sequence[Callable[..., Any] | str] = (),
    reward_weights: Sequence[float] | None = None,
    trainer_state: Any = None,
) -> RewardStats:
    """Fill in `rewards`, `reward`, `correct`, `answer` of responses, plan scores and rewards of groups.

    `Response.rewards` holds the parts before weighting: "outcome" (0 or 1), "plan" (the softmax value),
    "structure" and "length" (their constants already in, as the paper writes them), "overlong", and one entry
    per user function (its name; None = not applicable). Parts that are switched off are left out, except
    "outcome", which is recorded wherever there is a reference answer. `Response.reward` is the weighted sum
    of the applicable parts:

        R = outcome_reward * outcome + plan_reward_weight * plan + structure + length + overlong
            + sum_j w_j f_j

    or NaN if no part applies (such a response gets advantage 0).

    Args:
        groups: as sampled.
        judge: compares answers; may be None if no question has a reference answer.
        reward_funcs: functions with TRL's signature, or names that `rewards.load` knows.
        reward_weights: one weight per function; default all 1.
        trainer_state: handed to the functions unchanged.

    Raises:
        RewardError: a function raised, hung, or returned something else than one finite number or None per
            response.
        ConfigError: `reward_weights` does not match, a reference answer without a judge, or no reward at all.
    """
    responses = [response for group in groups for response in group.responses]
    funcs = functions.prepare(reward_funcs, reserved=BUILT_IN)
    weights = _weights(settings, funcs, reward_weights)
    stats = RewardStats(weights=weights)
    parts: list[dict[str, float | None]] = [{} for _ in responses]

    verdicts = _judge(groups, settings, judge)
    stats.verdicts.update(verdict.status for verdict in verdicts if verdict is not None)
    correct = [None if verdict is None else verdict.status == "correct" for verdict in verdicts]

    plans: list[tuple[list[float], list[float]]] = []
    start = 0
    for group in groups:
        stop = start + len(group.responses)
        plans.append(_score_group(group, correct[start:stop], parts[start:stop], settings))
        start = stop

    calls = functions.RewardCalls(groups, judge, trainer_state, settings.reward_timeout)
    for func in funcs:
        for part, value in zip(parts, calls.call(func), strict=True):
            part[func.name] = value
    stats.metrics, stats.extra = calls.metrics(), calls.extra

    for response, part, verdict, right in zip(responses, parts, verdicts, correct, strict=True):
        response.rewards = part
        response.reward = total_reward(part, weights)
        response.correct = right
        if verdict is not None:
            response.answer = verdict.extracted
    for group, (scores, rewards) in zip(groups, plans, strict=True):
        group.plan_scores, group.plan_rewards = scores, rewards
    return stats


def _judge(
    groups: Sequence[Group], settings: RewardSettings, judge: AnswerJudge | None
) -> list[Verdict | None]:
    texts = [response.text for group in groups for response in group.responses]
    golds = [group.question.answer for group in groups for _ in group.responses]
    if judge is None and any(gold is not None for gold in golds):
        raise ConfigError(
            "score_groups: questions have reference answers but no judge was given; pass an answers.Judge"
        )
    return (
        [None] * len(texts) if judge is None else judge_responses(texts, golds, judge, settings.answer_kind)
    )


def _score_group(
    group: Group,
    correct: Sequence[bool | None],
    parts: Sequence[dict[str, float | None]],
    settings: RewardSettings,
) -> tuple[list[float], list[float]]:
    """Write the built-in parts of one group; return its plan scores and rewards (empty without a gold)."""
    judged = bool(correct) and None not in correct
    scores = plan_scores([bool(right) for right in correct], group.num_plans) if judged else []
    rewards = plan_rewards(scores, settings.plan_temperature) if judged else []
    lengths = [response.length for response in group.responses]
    by_length = length_rewards(
        lengths, [bool(right) for right in correct], settings.length_reward_weight, settings.length_reward_on
    )
    for response, right, part, of_length in zip(group.responses, correct, parts, by_length, strict=True):
        if right is not None:
            part["outcome"] = outcome_reward(right)
        if settings.use_plan_reward and settings.plan_reward_weight:
            part["plan"] = rewards[response.plan_index] if judged else None
        if settings.structure_reward:
            part["structure"] = structure_reward(response.text, settings.structure_reward)
        if settings.length_reward_weight:
            part["length"] = of_length if judged else None
        limit = settings.max_completion_length
        if settings.overlong_cache_fraction and limit is not None:
            cache = max(1, round(limit * settings.overlong_cache_fraction))
            part["overlong"] = overlong_reward(response.length, limit, cache)
    return scores, rewards


def _weights(
    settings: RewardSettings,
    funcs: Sequence[functions.RewardFunction],
    reward_weights: Sequence[float] | None,
) -> dict[str, float]:
    if reward_weights is None:
        reward_weights = [1.0] * len(funcs)
    if len(reward_weights) != len(funcs):
        raise ConfigError(
            f"reward_weights: got {len(reward_weights)} weights for {len(funcs)} reward functions"
        )
    if not all(math.isfinite(weight) for weight in reward_weights):
        raise ConfigError(f"reward_weights: got {list(reward_weights)}, must be finite numbers")
    weights = {
        "outcome": settings.outcome_reward,
        "plan": settings.plan_reward_weight if settings.use_plan_reward else 0.0,
        "structure": float(bool(settings.structure_reward)),
        "length": float(bool(settings.length_reward_weight)),
        "overlong": float(bool(settings.overlong_cache_fraction)),
    }
    weights.update({func.name: float(weight) for func, weight in zip(funcs, reward_weights, strict=True)})
    if not any(weights.values()):
        raise ConfigError(
            "no reward: every built-in reward has weight 0 and there is no reward function with a weight"
        )
    return weights
