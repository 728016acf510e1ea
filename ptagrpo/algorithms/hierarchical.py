"""Advantages with a baseline per plan (ours, off by default): what a plan and what a chain did, told apart.

With R_ik the reward of chain k under plan i, R_i the mean of plan i's rewards and R the mean of the R_i:

    plan tokens      (R_i - R)    m / (m - 1)   =  R_i  - mean of the other plans' means
    chain tokens     (R_ik - R_i) z / (z - 1)   =  R_ik - mean of the other chains of its plan

each divided by the same standard deviation as in Eq. 10 (`scale_rewards`). A chain's tokens are then free of the
luck of its plan; a chain is no longer rewarded for standing under a good plan. The factors make each a
leave-one-out baseline, which leaves the policy gradient unbiased.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ..errors import ConfigError
from ..records import Group


def hierarchical_advantages(
    groups: Sequence[Group], rewards: np.ndarray, zero_std: np.ndarray, scale: str, ddof: int, eps: float
) -> None:
    """Write `Response.advantage` (chain tokens) and `Response.plan_advantage` (plan tokens).

    Rewards that are NaN (not applicable) are left out: m and z are then the plans and chains that have one. A
    plan's only rewarded chain has nothing to be compared with and gets 0, as does the only plan.

    Args:
        rewards: float64[n], of all responses of `groups` in order.
        zero_std: bool[G], groups whose rewards are all equal; they get exactly 0.
        scale, ddof, eps: as of `AdvantageSettings`, already checked.

    Raises:
        ConfigError: a group without at least two plans of at least two chains.
    """
    there = rewards[~np.isnan(rewards)]
    over_batch = float(np.std(there, ddof=ddof)) if len(there) > ddof else 0.0
    start = 0
    for group, silent in zip(groups, zero_std, strict=True):
        m, z = group.num_plans, group.cots_per_plan
        if m < 2 or z < 2:
            raise ConfigError(
                "advantage_mode 'hierarchical' compares plans with plans and chains with chains: it needs "
                f"num_plans >= 2 and cots_per_plan >= 2, got {m} and {z} for question {group.question.id!r}"
            )
        table = rewards[start : start + m * z].reshape(m, z)
        start += m * z
        divisor = {"group": _std(table, ddof), "batch": over_batch, "none": 1.0}[scale]
        if scale != "none":
            divisor += eps
        plans, chains = np.zeros(m), np.zeros((m, z))
        if not silent and divisor > 0.0:
            plans, chains = _differences(table)
            plans, chains = plans / divisor, chains / divisor
        for response in group.responses:
            response.advantage = float(chains[response.plan_index, response.cot_index])
            response.plan_advantage = float(plans[response.plan_index])


def _differences(table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """float64[m] and float64[m, z]: each plan against the others, each chain against its siblings."""
    rows = [row[~np.isnan(row)] for row in table]
    means = np.array([math.fsum(row) / len(row) if len(row) else math.nan for row in rows])
    known = ~np.isnan(means)
    m = int(known.sum())
    plans = np.zeros(len(table))
    if m > 1:
        plans[known] = (means[known] - math.fsum(means[known]) / m) * (m / (m - 1))
    chains = np.zeros_like(table)
    for index, row in enumerate(rows):
        if len(row) > 1 and row.max() > row.min():
            inside = ~np.isnan(table[index])
            chains[index, inside] = (row - means[index]) * (len(row) / (len(row) - 1))
    return plans, chains


def _std(table: np.ndarray, ddof: int) -> float:
    values = table[~np.isnan(table)]
    return float(np.std(values, ddof=ddof)) if len(values) > ddof else 0.0
