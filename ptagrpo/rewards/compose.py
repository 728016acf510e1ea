"""Total reward (Eq. 4): a weighted sum of the parts that apply."""

from __future__ import annotations

import math
from collections.abc import Mapping


def total_reward(parts: Mapping[str, float | None], weights: Mapping[str, float]) -> float:
    """R = sum of weight * part over the parts that are not None; NaN if none applies.

    Args:
        parts: values by name; None means "not applicable".
        weights: weight by name. Parts without a weight, or with weight 0, are only recorded, not summed.

    >>> total_reward({"outcome": 1.0, "plan": 0.5, "style": None}, {"outcome": 1.0, "plan": 0.5, "style": 2})
    1.25
    """
    counted = [
        weights[name] * value for name, value in parts.items() if value is not None and weights.get(name)
    ]
    return math.fsum(counted) if counted else math.nan
