"""Stage 2: one loop for GRPO, Dr. GRPO, DAPO (flat groups) and PTA-GRPO (plan trees).

A step takes the next minibatch of the rollout in use, or samples a new rollout first: forward, clipped
policy loss with the k3 KL (Eq. 9), backward, AdamW. What differs between the algorithms is in the
configuration and in their files; what differs between flat groups and trees is in the records.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .. import _core
from ..answers import Judge
from ..data import load_questions
from ..errors import ConfigError
from ..packing import Batch, loss_weights, pack_groups, split_groups
from ..policy import Policy
from ..records import Group, Question
from ..rewards import RewardStats, score_groups
from ..template import build_prompt, picture_prompt
from . import fingerprints, pictures, rl_files
from .config import GRPOConfig, PTAGRPOConfig
from .estimate import sampling_bytes
from .loop import StepResult, Trainer
from .metrics import own_metrics
from .plan_warnings import PlanWarnings
from .rl_metrics import UpdateStats
from .rollout_records import RolloutRecords
from .rollout_step import Rollout, Sampler, reward_settings
from .samples import SampleTable

RewardFunc = Callable[..., Any] | str


class GRPOTrainer(Trainer):
    """Reinforcement learning on flat groups; `args.algorithm` picks GRPO, Dr. GRPO or DAPO.

    Args:
        model: a Policy (trained in place), or a path or hub id.
        reward_funcs: functions with TRL's signature, or names (see `rewards.load`), added to the built-in
            rewards. With functions and no `args.outcome_reward`, the right answer itself gives no reward, as
            in TRL; without functions it gives 1.
        args: GRPOConfig.
        train_dataset: rows with a prompt and, for the outcome reward, an answer: a list of mappings or
            `Question`s, a datasets.Dataset, or a path that `data.load_questions` reads.
        eval_dataset: rows of the same kind, for `evaluate()`.
        callbacks: see `callbacks.TrainerCallback`. processing_class: see `loop.Trainer`.
        compute_metrics: further metrics of an evaluation from its responses, one mapping each as in completions/
            (prompt, completion, plan, answer, extracted, correct, rewards, ...); "eval_" is put before their names.

    Raises:
        ConfigError: settings that contradict each other or the data. DataError: a malformed row.
    """

    config_class: type[GRPOConfig] = GRPOConfig
    args: GRPOConfig

    def __init__(
        self,
        model: Policy | str | Path,
        reward_funcs: RewardFunc | Sequence[RewardFunc] = (),
        args: GRPOConfig | None = None,
        train_dataset: Any = None,
        eval_dataset: Any = None,
        callbacks: Sequence[Any] | None = None,
        processing_class: Any = None,
        compute_metrics: Callable[[list[dict[str, Any]]], Mapping[str, float]] | None = None,
        **others: Any,
    ):
        super().__init__(model, args, [*(callbacks or ()), PlanWarnings()], processing_class, **others)
        self._compute_metrics = compute_metrics
        several: Any = [reward_funcs] if isinstance(reward_funcs, str) or callable(reward_funcs) else reward_funcs
        self._reward_funcs: list[Callable[..., Any] | str] = list(several or ())
        self._questions = self._screen(self._read(train_dataset, "train_dataset"), train_dataset)
        self._eval_questions = [] if eval_dataset is None else self._read(eval_dataset, "eval_dataset")
        if self.args.eval_strategy != "no" and not self._eval_questions:
            raise ConfigError(f"{type(self).__name__}: eval_strategy='steps' needs an eval_dataset")
        self._settings = reward_settings(self.args, self._outcome_reward())
        self._judge: Judge | None = None
        self._users = 0
        self._sampler = self._sampler_of(self._questions)
        self._memory.reserve(sampling_bytes(self.policy, self.args, self._sampler.longest_prompt()))
        self._data_fingerprint = fingerprints.rows_fingerprint(self._questions)
        self._reference: Policy | None = None
        if self.args.beta > 0.0:  # with an adapter: the policy without it
            self._reference = self.policy if self.policy.lora_config is not None else self.policy.clone()
        self._rollout: Rollout | None = None
        self._position = self._draws = 0
        self._check_rewards()
        self._records = RolloutRecords(self.policy, self.args)
        self._samples = SampleTable()
        self._callbacks.callbacks.insert(-1, self._samples)

    def evaluate(self, eval_dataset: Any = None, *, metric_key_prefix: str = "eval") -> dict[str, float]:
        """Sample and score the evaluation questions once; metrics as in training, with the prefix "eval_".

        Args:
            eval_dataset: questions other than the trainer's. metric_key_prefix: instead of "eval".
        """
        questions = self._eval_questions if eval_dataset is None else self._read(eval_dataset, "eval_dataset")
        if not questions:
            raise ConfigError("evaluate: there is no eval_dataset")
        sampler = self._sampler_of(questions, self.args.num_generations_eval)
        groups: list[Group] = []
        scored: list[RewardStats] = []
        size = max(1, self.args.per_device_eval_batch_size)
        with self._resources():
            for start in range(0, len(questions), size):
                rows = range(start, min(start + size, len(questions)))
                part = sampler.sample(rows, draw=-1)
                scored.append(self._score(part))
                groups += part
        metrics = sampler.metrics(groups, scored)
        if self._compute_metrics is not None:
            samples = rl_files.completion_rows(self.state.global_step, groups, {})
            metrics = {**metrics, **own_metrics(self._compute_metrics(samples))}
        return {f"{metric_key_prefix}_{name}": value for name, value in metrics.items()}

    # Set-up.

    def _read(self, rows: Any, name: str) -> list[Question]:
        if rows is None:
            raise ConfigError(f"{type(self).__name__}: {name}: expected rows or a path, got None")
        if isinstance(rows, Sequence) and rows and all(isinstance(row, Question) for row in rows):
            return list(rows)
        return load_questions(rows)

    def _sampler_of(self, questions: Sequence[Question], responses: int | None = None) -> Sampler:
        style, tokenizer = self.args.prompt_style, self.policy.tokenizer
        prompts = [
            dataclasses.replace(q, prompt=picture_prompt(q.prompt, q.images, style)) if q.images
            else q if style == "raw" else dataclasses.replace(q, prompt=build_prompt(q.prompt, tokenizer, style=style))
            for q in questions
        ]  # fmt: skip
        if any(q.images for q in questions):
            self.policy.eyes(type(self).__name__ + ": a question")
        return Sampler(self.policy, self.args, questions, prompts, self._score, responses)

    def _outcome_reward(self) -> float:
        if self.args.outcome_reward is not None:
            return self.args.outcome_reward
        return 0.0 if self._reward_funcs and not isinstance(self.args, PTAGRPOConfig) else 1.0

    def _check_rewards(self) -> None:
        weights = self.args.reward_weights
        if weights is not None and len(weights) != len(self._reward_funcs):
            raise ConfigError(
                f"{type(self).__name__}: reward_weights: got {len(weights)} weights for "
                f"{len(self._reward_funcs)} "
                "reward functions"
            )
        if not self._reward_funcs and all(question.answer is None for question in self._questions):
            raise ConfigError(
                f"{type(self).__name__}: the questions have no reference answers (columns answer, solution, "
                "ground_truth) and there are no reward_funcs: nothing to learn from"
            )

    def _names_of_rewards(self) -> list[str]:
        return [
            func if isinstance(func, str) else getattr(func, "__name__", type(func).__name__)
            for func in self._reward_funcs
        ]

    def _identity(self) -> dict[str, Any]:
        identity = {**super()._identity(), "data": self._data_fingerprint}
        identity["settings"] |= {
            "reward_funcs": self._names_of_rewards(),
            "outcome_reward": self._settings.outcome_reward,
        }
        if self._reference is not None:
            identity["reference_policy"] = fingerprints.weights_fingerprint(self._reference)
        return identity

    @contextlib.contextmanager
    def _resources(self) -> Iterator[None]:
        """The judge's worker lives while training or evaluating; entered twice, it is the same one."""
        self._users += 1
        try:
            if self._judge is None:
                self._judge = Judge(timeout=self.args.judge_timeout)
            yield
        finally:
            self._users -= 1
            if not self._users and self._judge is not None:
                self._judge.close()
                self._judge = None

    def _score(self, groups: Sequence[Group]) -> RewardStats:
        stats = score_groups(
            groups, self._settings, self._judge, self._reward_funcs, self.args.reward_weights, self.state
        )
        self._guard.check()
        return stats

    # Steps.

    def _total_steps(self) -> int:
        args = self.args
        if args.max_steps > 0:
            return args.max_steps
        per_rollout = args.questions_per_rollout
        rollouts = math.ceil(args.num_train_epochs * len(self._questions) / per_rollout)
        return max(1, rollouts) * args.steps_per_rollout

    def _epoch(self) -> float:
        return self._position / len(self._questions)

    def _compute_gradients(self) -> StepResult:
        fresh = self._rollout is None
        rollout = self._new_rollout() if self._rollout is None else self._rollout
        stats = UpdateStats()
        tokens = 0
        on_policy = rollout.used == 0
        minibatch = rollout.used % self.args.minibatches
        logprobs = []
        for number, batch in enumerate(rollout.batches[minibatch]):
            if number:
                self._substep()
            tokens += batch.num_tokens
            logprobs.append(self._update(batch, number, stats, on_policy))
        if fresh:
            self._samples.groups = rollout.groups
        self._records.after_update(rollout, minibatch, logprobs, self.state.global_step + 1)
        self._rollout = rollout  # only a step that gets here has used it; an interrupted one samples it again
        metrics = stats.metrics(self.args.beta)
        live = {"reward": rollout.metrics["reward"]} if rollout.metrics else dict(self._bar.live)
        live["loss"] = metrics["loss"]
        first = fresh or bool(rollout.metrics)
        logged, timings = (rollout.metrics, rollout.timings) if first else ({}, {})
        return StepResult({**metrics, **logged}, tokens, live, timings)

    def _update(self, batch: Batch, number: int, stats: UpdateStats, on_policy: bool) -> np.ndarray:
        """Forward, loss and backward of micro-batch `number` of a step; returns the log-probabilities of its targets.

        On policy, with dropout, the old log-probabilities are the masked model's own: the ratio is 1, as it is without.
        """
        args = self.args
        high = args.epsilon if args.epsilon_high is None else args.epsilon_high
        pictures.see(self.policy, batch, keep=True)
        dropout_key = self._dropout_key(number)
        masked = on_policy and dropout_key is not None
        loss, logprobs, entropies, sums = _core.train_policy(
            self.policy.model, batch.forest, batch.source, batch.target, None if masked else batch.old, batch.ref,
            batch.w_pos, batch.w_neg, batch.w_kl, args.epsilon, high, args.beta, delta=args.delta,
            temperature=args.temperature, keep=self._memory.keep(batch), dropout_key=dropout_key,
        )  # fmt: skip
        pictures.learn(self.policy, batch)
        if on_policy and not masked:
            stats.compare(logprobs, batch.old)
        stats.add(loss, sums, entropies)
        return logprobs

    def _new_rollout(self) -> Rollout:
        """Sample a rollout and make its micro-batches, with reference log-probabilities where needed. The old
        log-probabilities are those recorded while sampling: the same bits as the trainer's own.
        """
        rollout = self._sampler.rollout(self._position, self._draws)
        self._pack(rollout)
        for batch in itertools.chain.from_iterable(rollout.batches if self._reference is not None else ()):
            self._guard.check()
            batch.ref = self._reference_logprobs(batch)
        self._records.sampled(rollout, self.state.global_step + 1)
        return rollout

    def _reference_logprobs(self, batch: Batch) -> np.ndarray:
        assert self._reference is not None
        pictures.see(self._reference, batch)
        with self._reference.disable_adapter():
            values, _ = self._reference.model.forward(
                batch.forest, batch.source, batch.target, temperature=self.args.temperature, keep=False
            )
        return values

    def _pack(self, rollout: Rollout) -> None:
        """Cut the groups into minibatches and these into micro-batches; the same cut whenever it is done
        again.
        """
        args = self.args
        rollout.batches = []
        for number in range(args.minibatches):
            start = number * args.questions_per_step
            groups = rollout.groups[start : start + args.questions_per_step]
            weights = loss_weights(
                groups,
                args.loss_type,
                args.max_completion_length,
                mask_truncated=args.mask_truncated_completions,
            )
            rollout.batches.append(
                [
                    pack_groups(
                        [groups[i] for i in part], [weights[i] for i in part], self.policy.config.vision
                    )
                    for part in split_groups(groups, self._memory.micro_batch_tokens)
                ]
            )

    def _advance(self) -> None:
        rollout = self._rollout
        assert rollout is not None  # a step has just used it
        self._position, self._draws = rollout.position, rollout.draws
        rollout.used += 1
        rollout.metrics = {}
        if rollout.used == self.args.steps_per_rollout:
            self._rollout = None

    # Checkpoints.

    def _write_extra(self, folder: Path) -> dict[str, Any]:
        if self._rollout is not None and self._rollout.used:
            rl_files.write_rollout(folder, self._rollout, self._questions)
        return {"position": self._position, "draws": self._draws}

    def _read_extra(self, folder: Path, private: Mapping[str, Any]) -> None:
        self._position, self._draws = private.get("position", 0), private.get("draws", 0)
        self._rollout = self._samples.groups = None
        self._records.forget()
        found = rl_files.read_rollout(folder, self._questions) if private else None
        if found is None:
            return
        rollout, tensors = found
        for group in rollout.groups if self.policy.accepts_images else ():
            group.segments[0].pictures = self._sampler.pictures_of(group.question)
        self._pack(rollout)
        for i, minibatch in enumerate(rollout.batches):
            for j, batch in enumerate(minibatch):
                batch.old = tensors[f"old.{i}.{j}"]
                batch.ref = tensors.get(f"ref.{i}.{j}")
        self._rollout, self._samples.groups = rollout, rollout.groups


class PTAGRPOTrainer(GRPOTrainer):
    """Reinforcement learning on plan trees: m plans a question, z chains a plan, and a reward for plans
    under which reasoning ends right. Arguments as `GRPOTrainer`; `reward_funcs` are added to the paper's
    rewards."""

    config_class = PTAGRPOConfig
    args: PTAGRPOConfig
