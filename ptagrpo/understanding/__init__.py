"""Understanding a run: what a rollout's numbers say about plans, and sentences where they say trouble.

One small file per idea; formulas are in `docs/metrics.md`. Nothing here feeds back into training.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..records import Group
from .components import advantage_shares, outcome_signal
from .dependence import answer_dependence
from .diversity import diversity
from .explain import Finding, explain
from .plans import leaks, plan_form
from .success import success
from .variance import variance_components, variances

__all__ = [
    "Finding",
    "advantage_shares",
    "answer_dependence",
    "diversity",
    "explain",
    "leaks",
    "outcome_signal",
    "plan_form",
    "plan_metrics",
    "success",
    "variance_components",
    "variances",
]


def plan_metrics(groups: Sequence[Group], weights: Mapping[str, float]) -> dict[str, float]:
    """All metrics of this room over scored groups with their advantages.

    Args:
        weights: weight of each reward component in the total, as `rewards.RewardStats.weights`.
    """
    return {
        **outcome_signal(groups),
        **success(groups),
        **variances(groups),
        **advantage_shares(groups, weights),
        **plan_form(groups),
        **leaks(groups),
        **diversity(groups),
        **answer_dependence(groups),
    }
