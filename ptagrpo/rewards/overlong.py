"""Soft overlong punishment of DAPO (Yu et al. 2025, Eq. 13): a slope, not a cliff, at the length limit."""

from __future__ import annotations


def overlong_reward(length: int, max_completion_length: int, cache: int) -> float:
    """0 up to `max_completion_length - cache` tokens, then falling linearly to -1 at the limit and beyond.

    >>> [overlong_reward(n, 100, 20) for n in (80, 90, 100, 101)]
    [0.0, -0.5, -1.0, -1.0]
    """
    free = max_completion_length - cache
    if length <= free:
        return 0.0
    if length >= max_completion_length:
        return -1.0
    return (free - length) / cache
