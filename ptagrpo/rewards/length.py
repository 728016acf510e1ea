"""Length reward (Eqs. 7, 8): responses near the length of the shortest correct one are preferred.

    T      token length of the shortest correct response of the question
    T_max  token length of the longest response of the question (not the generation limit)
    r      alpha * exp(-| |o| - T | / (T_max - T))

What the paper leaves open: without a correct response there is no reference length and r = 0; with T_max = T
the formula's limit is taken, alpha for responses of length T and 0 for shorter (wrong) ones.
"""

from __future__ import annotations

import math
from collections.abc import Sequence


def length_rewards(
    lengths: Sequence[int], correct: Sequence[bool], weight: float = 0.1, on: str = "all"
) -> list[float]:
    """Length rewards of one question's responses.

    Args:
        lengths: tokens of each response, plan included.
        correct: whether each is correct.
        weight: alpha.
        on: "all" responses (Eq. 8 as printed), or only the "correct" ones; the others get 0.

    >>> length_rewards([10, 20], [True, False], weight=1.0) == [1.0, math.exp(-1)]
    True
    >>> length_rewards([10, 20], [False, False])
    [0.0, 0.0]
    """
    correct_lengths = [length for length, right in zip(lengths, correct, strict=True) if right]
    if not correct_lengths:
        return [0.0] * len(lengths)
    shortest, longest = min(correct_lengths), max(lengths)

    def reward(length: int, right: bool) -> float:
        if on == "correct" and not right:
            return 0.0
        if longest == shortest:
            return weight if length == shortest else 0.0
        return weight * math.exp(-abs(length - shortest) / (longest - shortest))

    return [reward(length, right) for length, right in zip(lengths, correct, strict=True)]
