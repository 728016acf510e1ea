"""What an RL run keeps of its rollouts for people: trees/ and completions/. Changes nothing of training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..policy import Policy
from ..records import Group
from . import rl_files
from .config import GRPOConfig
from .rollout_step import Rollout
from .step_files import StepFiles


class RolloutRecords:
    """Writes the files of a rollout, named by the first step that it feeds, as its options ask."""

    def __init__(self, policy: Policy, args: GRPOConfig):
        root = Path(args.output_dir)
        self._args = args
        self._trees = StepFiles(root, "trees", args.store_limit_mb, compress=True)
        self._completions = StepFiles(root, "completions", args.store_limit_mb, compress=False)
        self._pieces = rl_files.TokenPieces(policy) if args.log_token_stats else None

    def sampled(self, rollout: Rollout, step: int) -> None:
        """After sampling and scoring, before the rollout's first update."""
        if self._args.log_completions:
            rows = rl_files.completion_rows(step, rollout.groups, rollout.extra)
            self._completions.write(step, rows)
        if self._args.store_trees:
            self._trees.write(step, rl_files.tree_rows(step, rollout.groups, self._pieces))

    def after_update(
        self, rollout: Rollout, minibatch: int, logprobs: Sequence[np.ndarray], step: int
    ) -> None:
        """After the gradients of a step; after the rollout's last one its trees get their ratios.

        Args:
            logprobs: what the model gives the targets of each micro-batch, float32[N]. step: of the update.
        """
        if self._pieces is None or not self._args.store_trees:
            return
        batches = rollout.batches[minibatch]
        rollout.ratios[minibatch] = [
            np.exp(new.astype(np.float64) - batch.old) for new, batch in zip(logprobs, batches, strict=True)
        ]
        if rollout.used + 1 == self._args.steps_per_rollout:
            ratios = _by_group(rollout, self._args.questions_per_step)
            first = step - rollout.used
            self._trees.write(first, rl_files.tree_rows(first, rollout.groups, self._pieces, ratios))

    def forget(self) -> None:
        """Training starts or resumes: files may have been dropped."""
        self._trees.forget()
        self._completions.forget()


def _by_group(rollout: Rollout, groups_per_minibatch: int) -> list[np.ndarray | None]:
    """The ratios of each group's targets; None for minibatches whose update was before a resume."""
    found: list[np.ndarray | None] = [None] * len(rollout.groups)
    for minibatch, parts in rollout.ratios.items():
        values, start = np.concatenate(parts), 0
        first = minibatch * groups_per_minibatch
        for number, group in enumerate(rollout.groups[first : first + groups_per_minibatch], start=first):
            size = _targets(group)
            found[number] = values[start : start + size]
            start += size
    return found


def _targets(group: Group) -> int:
    return sum(len(segment.token_ids) for segment in group.segments[1:])
