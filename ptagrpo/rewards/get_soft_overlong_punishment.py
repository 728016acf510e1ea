"""DAPO's soft overlong punishment as a reward function, with TRL's name and arguments."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..errors import ConfigError
from .overlong import overlong_reward


def get_soft_overlong_punishment(
    max_completion_len: int = 1280, soft_punish_cache: int = 256
) -> Callable[..., list[float]]:
    """Return a reward function: 0 up to `max_completion_len - soft_punish_cache` tokens, then down to -1.

    Raises:
        ConfigError: the cache is not between 1 and `max_completion_len`.

    >>> get_soft_overlong_punishment(100, 20)(completion_ids=[[1] * 80, [1] * 90, [1] * 200])
    [0.0, -0.5, -1.0]
    """
    if not 0 < soft_punish_cache <= max_completion_len:
        raise ConfigError(
            f"soft_punish_cache: got {soft_punish_cache}, must be between 1 and "
            f"max_completion_len={max_completion_len}"
        )

    def soft_overlong_punishment(completion_ids: list[list[int]], **kwargs: Any) -> list[float]:
        return [overlong_reward(len(ids), max_completion_len, soft_punish_cache) for ids in completion_ids]

    return soft_overlong_punishment
