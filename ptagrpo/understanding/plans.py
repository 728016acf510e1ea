"""The plans themselves: their length, whether they are closed, whether they give the answer away."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..answers.stated import states_answer
from ..parsing import parse_response
from ..records import Group
from .groups import is_tree, plan_texts


def plan_form(groups: Sequence[Group]) -> dict[str, float]:
    """plan/unclosed_frac: share of responses whose plan is not closed (missing plans count).
    plan/length_mean: mean tokens of a plan segment, over the plans of the trees."""
    responses = [response for group in groups for response in group.responses]
    if not responses:
        return {}
    unclosed = sum(not parse_response(response.text).plan_closed for response in responses)
    found = {"plan/unclosed_frac": unclosed / len(responses)}
    lengths = [
        len(group.segments[segment].token_ids)
        for group in groups
        if is_tree(group)
        for segment in {response.path[0] for response in group.responses}
    ]
    if lengths:
        found["plan/length_mean"] = float(np.mean(lengths))
    return found


def leaks(groups: Sequence[Group]) -> dict[str, float]:
    """plan/leak_frac: share of plans that state the reference answer, or the final answer of one of their own
    chains (see `answers.stated.states_answer`): such a plan has calculated, and its reward is the outcome's.

    Responses without a plan do not count; empty if there is no plan at all.
    """
    leaking = []
    for group in groups:
        prompt = group.question.prompt
        question = prompt if isinstance(prompt, str) else str(prompt[-1]["content"])
        for index, plan in enumerate(plan_texts(group)):
            if plan is None:
                continue
            answers = {r.answer for r in group.responses if r.plan_index == index} | {group.question.answer}
            leaking.append(any(states_answer(plan, question, a) for a in answers if a))
    return {"plan/leak_frac": float(np.mean(leaking))} if leaking else {}
