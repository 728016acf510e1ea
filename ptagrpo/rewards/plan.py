"""Analytic plan reward (Eq. 2): how often reasoning under a plan ends right, compared with its siblings."""

from __future__ import annotations

import math
from collections.abc import Sequence


def plan_scores(correct: Sequence[bool], num_plans: int) -> list[float]:
    """Share of correct chains under each plan, s_i = (1/z) sum_k 1[y_ik = y].

    Args:
        correct: m*z verdicts in plan-major order.
        num_plans: m.

    >>> plan_scores([True, False, True, True], 2)
    [0.5, 1.0]
    """
    z = len(correct) // num_plans
    return [sum(correct[i * z : (i + 1) * z]) / z for i in range(num_plans)]


def plan_rewards(scores: Sequence[float], temperature: float) -> list[float]:
    """softmax(scores / tau) over the plans of one question; they sum to 1.

    The largest score is subtracted first, so that no tau > 0 overflows.

    >>> plan_rewards([0.5, 0.5], 0.3)
    [0.5, 0.5]
    """
    top = max(scores)
    powers = [math.exp((score - top) / temperature) for score in scores]
    total = sum(powers)
    return [power / total for power in powers]
