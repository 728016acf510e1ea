"""How often reasoning under each plan ends right, and how much the plans of a question differ in that."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ..records import Group
from .groups import is_tree


def success(groups: Sequence[Group]) -> dict[str, float]:
    """Plan scores s_i = share of right chains under plan i (Eq. 2), over the judged trees.

    plan/success_mean: mean score. plan/success_spread: best minus worst score of a question.
    plan/success_std: population standard deviation of a question's scores. plan/tie_frac: share of questions
    all of whose plans score alike, where the plan reward says nothing. plan/reward_entropy: entropy of the
    softmax over plans, in nats (log m where all score alike). Means over questions; empty without a judged
    tree.
    """
    scored = [group for group in groups if is_tree(group) and group.plan_scores]
    if not scored:
        return {}
    spreads = [max(group.plan_scores) - min(group.plan_scores) for group in scored]
    entropies = [-math.fsum(p * math.log(p) for p in group.plan_rewards if p > 0) for group in scored]
    return {
        "plan/success_mean": float(np.mean([np.mean(group.plan_scores) for group in scored])),
        "plan/success_spread": float(np.mean(spreads)),
        "plan/success_std": float(np.mean([np.std(group.plan_scores) for group in scored])),
        "plan/tie_frac": float(np.mean([spread == 0 for spread in spreads])),
        "plan/reward_entropy": float(np.mean(entropies)),
    }
