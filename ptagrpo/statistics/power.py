"""What a comparison could have shown: the smallest difference that it would have found with a given chance."""

from __future__ import annotations

import math
from statistics import NormalDist


def detectable_difference(standard_error: float, *, alpha: float = 0.05, power: float = 0.8) -> float:
    """Smallest true difference that a two-sided test at `alpha` finds with chance `power`:
    (z_{1 - alpha/2} + z_power) standard errors, by the normal approximation.

    Args:
        standard_error: of the estimated difference.

    >>> round(detectable_difference(0.01), 4)
    0.028
    """
    if not 0 < alpha < 1 or not 0 < power < 1 or not standard_error >= 0:
        raise ValueError(
            "detectable_difference: expected standard_error >= 0, alpha and power between 0 and 1, got "
            f"{standard_error}, {alpha}, {power}"
        )
    normal = NormalDist()
    return (normal.inv_cdf(1 - alpha / 2) + normal.inv_cdf(power)) * standard_error


def detectable_share(questions: int, discordant: float, *, alpha: float = 0.05, power: float = 0.8) -> float:
    """For planning: smallest difference of two accuracies that `questions` paired answers can show, where a
    share `discordant` of the questions is answered right by only one method.

    The paired difference has variance (discordant - d^2) / questions at a true difference d; solved for d,
    which is at most `discordant`.

    >>> round(detectable_share(1000, 0.2), 3)
    0.039
    """
    if questions < 1 or not 0 <= discordant <= 1:
        raise ValueError(
            f"detectable_share: expected at least 1 question and a share, got {questions}, {discordant}"
        )
    factor = detectable_difference(1.0, alpha=alpha, power=power) ** 2 / questions
    return min(discordant, math.sqrt(factor * discordant / (1 + factor)))
