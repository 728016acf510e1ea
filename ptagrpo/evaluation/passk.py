"""avg@k, pass@k and maj@k of one question, from which of its n samples were right."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence


def pass_at_k(n: int, c: int, k: int) -> float:
    """Unbiased estimate of the probability that at least one of k samples is right, given c right ones of n.

    `1 − C(n−c, k) / C(n, k)` (Chen et al. 2021), as a product of factors at most 1: nothing overflows and it
    cannot leave [0, 1].

    Raises:
        ValueError: unless 0 ≤ c ≤ n and 1 ≤ k ≤ n.

    >>> pass_at_k(4, 1, 2)
    0.5
    """
    if not 0 <= c <= n:
        raise ValueError(f"pass_at_k: c is {c}, expected from 0 to n = {n}")
    if not 1 <= k <= n:
        raise ValueError(
            f"pass_at_k: k is {k}, expected from 1 to n = {n}: pass@{k} needs at least {k} samples a question"
        )
    if n - c < k:
        return 1.0
    if c == 0:
        return 0.0
    # Σ log1p(−k/i), i = n−c+1 … n, is log C(n−c, k)/C(n, k); fsum and expm1 keep the small probabilities
    # exact.
    return -math.expm1(math.fsum(math.log1p(-k / i) for i in range(n - c + 1, n + 1)))


def majority(answers: Sequence[Hashable | None], correct: Sequence[bool]) -> float:
    """Whether the most frequent answer is right: 1, 0, or the share of right ones among tied answers.

    Samples without an answer (None) do not vote; without any vote the value is 0. All right answers count as
    one answer, however they are spelled (they all equal the reference). A tie for the first place is worth
    the chance that a fair draw among the tied answers picks the right one, so that it depends neither on
    order nor on luck.

    Args:
        answers: normalised answers, one a sample.   correct: the verdicts.

    Raises:
        ValueError: different lengths, or no samples.

    >>> majority(["5", "7", "5", None], [True, False, True, False]), majority(["5", "7"], [True, False])
    (1.0, 0.5)
    """
    if len(answers) != len(correct) or not answers:
        raise ValueError(
            f"majority: {len(answers)} answers and {len(correct)} verdicts; expected as many, and one or more"
        )
    votes: dict[tuple[bool, Hashable], int] = {}
    for answer, right in zip(answers, correct, strict=True):
        if right:
            votes[(True, None)] = votes.get((True, None), 0) + 1
        elif answer is not None:
            votes[(False, answer)] = votes.get((False, answer), 0) + 1
    if not votes:
        return 0.0
    most = max(votes.values())
    tied = [key for key, count in votes.items() if count == most]
    return sum(right for right, _ in tied) / len(tied)
