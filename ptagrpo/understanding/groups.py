"""What the metrics of this room read from a group: is it a tree, its plans, its verdicts as a table."""

from __future__ import annotations

import numpy as np

from ..records import Group


def is_tree(group: Group) -> bool:
    """Whether the group's plans are segments of their own (a flat group has one segment per response)."""
    return group.cots_per_plan > 1 or any(len(response.path) > 1 for response in group.responses)


def plan_texts(group: Group) -> list[str | None]:
    """The text of each plan, read from its first response; None where the response has no plan."""
    texts: dict[int, str | None] = {}
    for response in group.responses:
        texts.setdefault(response.plan_index, response.plan)
    return [texts[index] for index in sorted(texts)]


def outcomes(group: Group) -> np.ndarray | None:
    """Verdicts as float64[m, z] (1 right, 0 wrong), or None where a response was not judged."""
    verdicts = [response.correct for response in group.responses]
    if not verdicts or None in verdicts:
        return None
    return np.array(verdicts, np.float64).reshape(group.num_plans, group.cots_per_plan)
