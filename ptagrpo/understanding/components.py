"""Which part of the reward the advantage comes from, and where the outcome has nothing to say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ..records import Group


def advantage_shares(groups: Sequence[Group], weights: Mapping[str, float]) -> dict[str, float]:
    """Share of the squared advantage that each reward component causes.

    The reward is a sum R = sum_c w_c r_c, so within a group its variance is the sum of the components'
    covariances with it:

        share_c = Cov(w_c r_c, R) / Var(R)           and         sum_c share_c = 1

    A negative share is of a component that pulls against the others. Groups are weighted by the sum of their
    squared advantages (plan advantages included), that is by how much they move the policy. A component that
    does not apply to a response counts 0 there, as in R; responses without any reward are left out.

    Args:
        groups: with rewards and advantages filled in.
        weights: weight of each component in R, as `rewards.RewardStats.weights`.

    Returns:
        {"plan/advantage_share/NAME": share} of every component with a weight; empty if no advantage differs
        from 0.
    """
    totals = dict.fromkeys((name for name, weight in weights.items() if weight), 0.0)
    moved = 0.0
    for group in groups:
        kept = [response for response in group.responses if response.reward == response.reward]
        push = sum(r.advantage**2 + (r.plan_advantage or 0.0) ** 2 for r in kept)
        rewards = np.array([response.reward for response in kept], np.float64)
        centred = rewards - rewards.mean() if len(kept) else rewards
        variance = float(centred @ centred)
        if push == 0.0 or variance == 0.0:
            continue
        for name in totals:
            part = np.array([weights[name] * (response.rewards.get(name) or 0.0) for response in kept])
            totals[name] += push * float(part @ centred) / variance
        moved += push
    return {f"plan/advantage_share/{name}": total / moved for name, total in totals.items()} if moved else {}


def outcome_signal(groups: Sequence[Group]) -> dict[str, float]:
    """frac_no_outcome_signal: share of the judged groups whose responses are all right or all wrong.

    Unlike `frac_reward_zero_std` it looks at verdicts alone: a length or format reward gives such a group a
    spread of rewards, and the standard deviation of Eq. 10 blows it up to full size, though nothing in it
    says what is right.
    """
    verdicts = [[response.correct for response in group.responses] for group in groups]
    judged = [set(row) for row in verdicts if row and None not in row]
    return {"frac_no_outcome_signal": float(np.mean([len(row) == 1 for row in judged]))} if judged else {}
