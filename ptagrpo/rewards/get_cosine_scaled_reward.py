"""Accuracy scaled by length along a cosine, with TRL's name and arguments (Yeo et al. 2025, appendix C.1)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from ..errors import ConfigError
from .accuracy_reward import accuracy_reward
from .outcome import AnswerJudge


def get_cosine_scaled_reward(
    max_len: int = 512,
    min_value_wrong: float = -1.0,
    max_value_wrong: float = -0.5,
    min_value_correct: float = 0.5,
    max_value_correct: float = 1.0,
) -> Callable[..., list[float | None]]:
    """Return a reward function: right answers are worth less the longer they are, wrong ones cost less.

    With n tokens, c = cos(pi * min(n / max_len, 1)): a right answer gets the value that lies (1 + c) / 2 of the way
    from `min_value_correct` to `max_value_correct`, a wrong one that far from `max_value_wrong` to
    `min_value_wrong`. None where `solution` is None.

    Args:
        max_len: tokens at which the long end is reached. (TRL has no default; 512 is max_completion_length's.)

    Raises:
        ConfigError: `max_len` is not positive.
    """
    if max_len < 1:
        raise ConfigError(f"get_cosine_scaled_reward: max_len: got {max_len}, must be positive")

    def cosine_scaled_reward(
        completions: list[Any],
        solution: list[str | None],
        completion_ids: list[list[int]],
        judge: AnswerJudge | None = None,
        **kwargs: Any,
    ) -> list[float | None]:
        rewards: list[float | None] = []
        accuracies = accuracy_reward(completions, solution, judge=judge)
        for accuracy, ids in zip(accuracies, completion_ids, strict=True):
            if accuracy is None:
                rewards.append(None)
                continue
            long, short = (
                (min_value_correct, max_value_correct) if accuracy else (max_value_wrong, min_value_wrong)
            )
            share = (1.0 + math.cos(math.pi * min(len(ids) / max_len, 1.0))) / 2.0
            rewards.append(long + (short - long) * share)
        return rewards

    return cosine_scaled_reward
