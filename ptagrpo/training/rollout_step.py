"""One rollout: sample, score, replace groups that teach nothing, assign advantages. Changes no weight.

What it takes from the data stream and from the draws is in the `Rollout`; nothing is remembered elsewhere,
so a rollout that is interrupted or fails is simply done again.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .. import algorithms
from ..packing import Batch
from ..policy import Policy
from ..records import Group, Picture, Question
from ..rewards import RewardSettings, RewardStats
from ..rollouts import SamplingParams, encode_prompt, sample_flat, sample_trees
from . import rl_metrics
from .config import GRPOConfig, PTAGRPOConfig
from .data_order import RowStream


@dataclass
class Rollout:
    """Sampled and scored groups, and how far their use has come.

    position, draws: data position and number of sampling calls after this rollout.
    used: optimizer steps taken on it. metrics: to be logged with its first step. batches: micro-batches of
    each minibatch, filled in by the trainer. ratios: of each minibatch, what its last update found for each
    target (new over old probability), one array per micro-batch; only with log_token_stats.
    """

    groups: list[Group]
    position: int
    draws: int
    used: int = 0
    metrics: dict[str, float] = field(default_factory=dict)
    timings: dict[str, float] = field(default_factory=dict)
    extra: dict[str, list[Any]] = field(default_factory=dict)
    batches: list[list[Batch]] = field(default_factory=list)
    ratios: dict[int, list[np.ndarray]] = field(default_factory=dict)


def sampling_params(args: GRPOConfig) -> SamplingParams:
    """The sampling options of a configuration."""
    limit = args.max_plan_length if isinstance(args, PTAGRPOConfig) else None
    return SamplingParams(
        args.temperature, args.top_p, args.top_k, args.min_p, args.max_completion_length, limit
    )


class Sampler:
    """Draws rollouts from a question stream.

    Args:
        prompts: for each question, the question as the model gets it (prompt built, chat template applied).
        score: fills in rewards (see `rewards.score_groups`).
        num_generations: responses to a question on flat groups; None: as `args` has it.
    """

    def __init__(
        self,
        policy: Policy,
        args: GRPOConfig,
        questions: Sequence[Question],
        prompts: Sequence[Question],
        score: Callable[[Sequence[Group]], RewardStats],
        num_generations: int | None = None,
    ):
        self._responses = num_generations or args.num_generations
        self._policy, self._args, self._score = policy, args, score
        self._questions, self._prompts = questions, prompts
        self._stream = RowStream(len(questions), args.seed, args.shuffle_dataset)
        self._spec = algorithms.load(args.algorithm)
        self._params = sampling_params(args)

    def longest_prompt(self) -> int:
        """Tokens of the prompt that has the most images or else the longest text."""
        longest = max(self._prompts, key=lambda question: (len(question.images), len(question.prompt)))
        return len(encode_prompt(self._policy, longest))

    def pictures_of(self, question: Question) -> tuple[Picture, ...]:
        """The pictures of a question's prompt, made anew."""
        prompt = next(p for q, p in zip(self._questions, self._prompts, strict=True) if q is question)
        return encode_prompt(self._policy, prompt).pictures if question.images else ()

    def sample(self, rows: Sequence[int], draw: int) -> list[Group]:
        """Groups for the questions of `rows`, draws keyed by (seed, draw)."""
        args = self._args
        prompts = [self._prompts[row] for row in rows]
        if isinstance(args, PTAGRPOConfig):
            groups = sample_trees(
                self._policy,
                prompts,
                args.num_plans,
                args.cots_per_plan,
                self._params,
                seed=args.seed,
                step=draw,
            )
        else:
            groups = sample_flat(
                self._policy, prompts, self._responses, self._params, seed=args.seed, step=draw
            )
        for group, row in zip(groups, rows, strict=True):
            group.question = self._questions[row]
        return groups

    def metrics(self, groups: Sequence[Group], scored: Sequence[RewardStats]) -> dict[str, float]:
        """Metrics of groups that are only looked at, not trained on (their advantages are filled in all
        the same).
        """
        return rl_metrics.of_groups(groups, algorithms.assign_advantages(groups, self._args), scored)

    def rollout(self, position: int, draws: int) -> Rollout:
        """The next rollout. With dynamic sampling, groups that teach nothing are replaced by other
        questions.
        """
        args = self._args
        wanted = args.generation_batch_size // args.num_generations
        keep = self._spec.keep_group or _rewards_differ
        kept: list[Group] = []
        spare: list[Group] = []
        extra: dict[int, dict[str, list[Any]]] = {}
        stats: list[RewardStats] = []
        seconds = {"time_sampling": 0.0, "time_reward": 0.0}
        rounds = tokens = responses = 0
        while True:
            rows = self._stream.take(position, wanted - len(kept))
            position += len(rows)
            began = time.perf_counter()
            groups = self.sample(rows, draws)
            draws += 1
            sampled = time.perf_counter()
            responses += sum(len(group.responses) for group in groups)
            tokens += sum(len(segment.token_ids) for group in groups for segment in group.segments[1:])
            stats.append(self._score(groups))
            extra.update(_extra_by_group(groups, stats[-1].extra))
            seconds["time_sampling"] += sampled - began
            seconds["time_reward"] += time.perf_counter() - sampled
            if not args.dynamic_sampling:
                kept = groups
                break
            kept += [group for group in groups if keep(group)]
            spare += [group for group in groups if not keep(group)]
            if len(kept) >= wanted or rounds == args.max_resample_times:
                break
            rounds += 1
        filled = wanted - len(kept)
        groups = kept + spare[:filled] if filled > 0 else kept
        advantages = algorithms.assign_advantages(groups, args)
        metrics = rl_metrics.of_groups(groups, advantages, stats)
        metrics |= {"sampling/responses": float(responses), "sampling/tokens": float(tokens)}
        if args.dynamic_sampling:
            metrics["sampling/resample_rounds"] = float(rounds)
            metrics["sampling/groups_dropped"] = float(len(spare) - max(filled, 0))
            metrics["sampling/groups_filled"] = float(max(filled, 0))
        return Rollout(
            groups, position, draws, metrics=metrics, timings=seconds, extra=_join_extra(groups, extra)
        )


def _rewards_differ(group: Group) -> bool:
    rewards = {response.reward for response in group.responses if response.reward == response.reward}
    return len(rewards) > 1


def _extra_by_group(
    groups: Sequence[Group], extra: Mapping[str, list[Any]]
) -> dict[int, dict[str, list[Any]]]:
    """Split columns over all responses by group (keyed by identity)."""
    ends = np.cumsum([0, *(len(group.responses) for group in groups)])
    return {
        id(group): {name: list(values[ends[i] : ends[i + 1]]) for name, values in extra.items()}
        for i, group in enumerate(groups)
    }


def _join_extra(
    groups: Sequence[Group], extra: Mapping[int, Mapping[str, list[Any]]]
) -> dict[str, list[Any]]:
    names = dict.fromkeys(name for group in groups for name in extra[id(group)])
    return {
        name: [v for g in groups for v in extra[id(g)].get(name, [None] * len(g.responses))] for name in names
    }


def reward_settings(args: GRPOConfig, outcome_reward: float) -> RewardSettings:
    """The reward options of a configuration."""
    names = {field.name for field in dataclasses.fields(RewardSettings)}
    values = {name: value for name, value in args.to_dict().items() if name in names}
    return RewardSettings(**{**values, "outcome_reward": outcome_reward})
