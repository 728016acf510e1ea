"""Does it matter which plan was drawn? The variance of outcomes between plans and within a plan.

One-way random-effects analysis of variance of each question's m x z outcomes, pooled over questions. Chance
alone makes plan means differ, so the mean square between plans is corrected by the one within plans.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..records import Group
from .groups import is_tree, outcomes


def variance_components(values: np.ndarray) -> tuple[float, float]:
    """Unbiased estimates (V_plan, V_chain) for one question.

        MS_between = z sum_i (s_i - s)^2 / (m - 1)        MS_within = sum_ik (y_ik - s_i)^2 / (m (z - 1))
        V_chain = MS_within                               V_plan = (MS_between - MS_within) / z

    Args:
        values: float64[m, z], m >= 2 plans with z >= 2 chains each.

    V_plan may be negative: an unbiased estimate of a variance near 0 sometimes is.

    >>> variance_components(np.array([[1.0, 1.0], [0.0, 0.0]]))
    (0.5, 0.0)
    """
    m, z = values.shape
    means = values.mean(axis=1)
    within = float(((values - means[:, None]) ** 2).sum() / (m * (z - 1)))
    between = float(z * ((means - means.mean()) ** 2).sum() / (m - 1))
    return (between - within) / z, within


def variances(groups: Sequence[Group]) -> dict[str, float]:
    """Pooled over the judged trees with at least two plans and two chains a plan.

    plan/variance_between, plan/variance_within: means of V_plan and V_chain over questions.
    plan/variance_share: V_plan / (V_plan + V_chain) of these means, a negative V_plan as 0 (the intraclass
    correlation): 0, a plan does not matter; 1, it decides. Left out where nothing varies.
    """
    tables = [outcomes(group) for group in groups if is_tree(group)]
    usable = [table for table in tables if table is not None and min(table.shape) >= 2]
    if not usable:
        return {}
    between, within = np.mean([variance_components(table) for table in usable], axis=0).tolist()
    found = {"plan/variance_between": between, "plan/variance_within": within}
    total = max(between, 0.0) + within
    if total > 0.0:
        found["plan/variance_share"] = max(between, 0.0) / total
    return found
