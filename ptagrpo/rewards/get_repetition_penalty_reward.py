"""Penalty on repeated n-grams of tokens, with TRL's name and arguments (Yeo et al. 2025, appendix C.2)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..errors import ConfigError


def get_repetition_penalty_reward(
    ngram_size: int = 3, max_penalty: float = -1.0
) -> Callable[..., list[float]]:
    """Return a reward function: `max_penalty` times the share of a response's n-grams that are repetitions.

    Raises:
        ConfigError: `ngram_size` is not positive, or `max_penalty` is.

    >>> get_repetition_penalty_reward(ngram_size=2)(completion_ids=[[1, 2, 3], [7, 7, 7, 7, 7], [7]])
    [0.0, -0.75, 0.0]
    """
    if ngram_size < 1:
        raise ConfigError(f"get_repetition_penalty_reward: ngram_size: got {ngram_size}, must be positive")
    if max_penalty > 0:
        raise ConfigError(
            f"get_repetition_penalty_reward: max_penalty: got {max_penalty}, must not be positive"
        )

    def repetition_penalty_reward(completion_ids: list[list[int]], **kwargs: Any) -> list[float]:
        return [repeated_share(ids, ngram_size) * max_penalty or 0.0 for ids in completion_ids]

    return repetition_penalty_reward


def repeated_share(ids: list[int], size: int) -> float:
    """1 − distinct n-grams / n-grams; 0 for a list shorter than `size`."""
    count = len(ids) - size + 1
    if count < 1:
        return 0.0
    return (count - len({tuple(ids[i : i + size]) for i in range(count)})) / count
