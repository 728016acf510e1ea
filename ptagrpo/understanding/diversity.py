"""How different the plans of one question are: a policy that always writes one plan has nothing to choose
from."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np

from ..records import Group
from .groups import plan_texts


def plan_distance(first: str, second: str) -> float:
    """Jaccard distance of two plans' sets of neighbouring word pairs: 0 for equal texts, 1 for nothing in
    common. Case and white space do not count.

    >>> round(plan_distance("sort, then add", "Sort, then multiply"), 3)
    0.667
    """
    one, two = _pairs(first), _pairs(second)
    return 1.0 - len(one & two) / len(one | two)


def _pairs(text: str) -> set[tuple[str, str]]:
    """Neighbouring words, the beginning and the end counted as words."""
    words = ["", *text.lower().split(), ""]
    return set(zip(words, words[1:], strict=False))


def diversity(groups: Sequence[Group]) -> dict[str, float]:
    """plan/diversity: (number of different plan texts - 1) / (m - 1), 0 all alike, 1 all different.
    plan/distance: mean `plan_distance` over all pairs of plans. Means over questions with at least two plans;
    responses without a plan do not count."""
    distinct, distances = [], []
    for group in groups:
        plans = [" ".join(text.lower().split()) for text in plan_texts(group) if text is not None]
        if len(plans) < 2:
            continue
        distinct.append((len(set(plans)) - 1) / (len(plans) - 1))
        distances.append(np.mean([plan_distance(a, b) for a, b in combinations(plans, 2)]))
    if not distinct:
        return {}
    return {"plan/diversity": float(np.mean(distinct)), "plan/distance": float(np.mean(distances))}
