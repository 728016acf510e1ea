"""Paired tests: two methods on the same questions."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

EXACT_UP_TO = 16
FLIPS = 20_000


def sign_flip(differences: Sequence[float], *, flips: int = FLIPS, seed: int = 0) -> float:
    """Two-sided p-value that paired differences are centred on 0: were the methods alike, each difference
    could as well have the other sign (Fisher's permutation test for pairs).

    Exact over all 2^n signs for up to 16 differences that are not 0; else `flips` random ones, and then at
    least 1 / (flips + 1).

    Args:
        differences: one per independent unit: a question (averaged over samples and seeds), or a seed.

    Raises:
        ValueError: no differences, or one that is not finite.

    >>> sign_flip([1.0, 1.0, 1.0, 1.0, 1.0])
    0.0625
    """
    values = np.asarray(differences, np.float64)
    if not len(values) or not np.isfinite(values).all():
        raise ValueError("sign_flip: expected one or more finite differences")
    values = values[values != 0]
    if not len(values):
        return 1.0
    # Sums that are equal but for rounding count as equal, or symmetric signs would be lost.
    reached = abs(math.fsum(values)) - 1e-12 * float(np.abs(values).sum())
    n = len(values)
    if n <= EXACT_UP_TO:
        signs = 1.0 - 2.0 * ((np.arange(2**n)[:, None] >> np.arange(n)) & 1)
        return float(np.mean(np.abs(signs @ values) >= reached))
    generator = np.random.Generator(np.random.Philox(key=seed))
    extreme, block = 0, max(1, 4_000_000 // n)
    for start in range(0, flips, block):
        count = min(block, flips - start)
        signs = 2.0 * generator.integers(0, 2, (count, n)) - 1.0
        extreme += int(np.count_nonzero(np.abs(signs @ values) >= reached))
    return (extreme + 1) / (flips + 1)


def mcnemar(only_first: int, only_second: int) -> float:
    """Exact two-sided McNemar test: p-value that questions which only one method answers fall on either side
    alike.

    Args:
        only_first, only_second: questions that only the first, only the second method answered right.

    >>> mcnemar(0, 0), round(mcnemar(1, 9), 4)
    (1.0, 0.0215)
    """
    n = only_first + only_second
    tail = sum(math.comb(n, i) for i in range(min(only_first, only_second) + 1))
    return min(1.0, float(2 * tail / 2**n))
