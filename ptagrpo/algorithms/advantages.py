"""Group-relative advantages (Eq. 10), written into the responses.

The arithmetic is `_core.group_advantages`: float64, an exact `max == min` test, rows without a reward left
out of the statistics. This file only gathers the rewards and counts what a run wants to log.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast

import numpy as np

from .. import _core
from ..errors import ConfigError, did_you_mean
from ..records import Group
from .hierarchical import hierarchical_advantages

SCALES = ("group", "batch", "none")
MODES = ("group", "hierarchical")


class _HasAdvantageSettings(Protocol):
    scale_rewards: str
    std_correction: int
    advantage_eps: float
    advantage_mode: str


@dataclass(frozen=True)
class AdvantageSettings:
    """How rewards become advantages; a training configuration with the same attributes serves as well.

    scale_rewards: divide by the standard deviation of the "group" (Eq. 10), of the whole "batch", or by
        nothing ("none", Dr. GRPO). The group's mean is subtracted in any case.
    std_correction: 0 for the population standard deviation of Eq. 10, 1 for the sample one (TRL).
    advantage_eps: added to the standard deviation; 0 as in Eq. 10 (an exactly constant group gets
        0 regardless).
    advantage_mode: "group" compares a response with all of its group (Eq. 10); "hierarchical" gives plans and
        chains baselines of their own (see `hierarchical`; trees only).
    """

    scale_rewards: str = "group"
    std_correction: int = 0
    advantage_eps: float = 0.0
    advantage_mode: str = "group"


@dataclass(frozen=True)
class AdvantageStats:
    """Counts of one call, all over the groups given.

    reward_mean: mean of the applicable rewards (nan if there are none); reward_std: mean over groups of their
    population standard deviation; num_groups, num_zero_std: groups, and those whose rewards are all equal;
    num_not_applicable: responses without any applicable reward (they get advantage 0).
    """

    reward_mean: float
    reward_std: float
    num_groups: int
    num_zero_std: int
    num_not_applicable: int

    @property
    def frac_reward_zero_std(self) -> float:
        """Share of groups that carry no signal."""
        return self.num_zero_std / self.num_groups if self.num_groups else 0.0


def assign_advantages(groups: Sequence[Group], settings: _HasAdvantageSettings) -> AdvantageStats:
    """Fill in `Response.advantage` from `Response.reward`, group by group.

    A = (R - mean) / (std + advantage_eps); in the hierarchical mode also `Response.plan_advantage`. A NaN
    reward (every reward function returned None) is left out of mean and std and gets advantage 0; a group
    whose rewards are all equal gets 0 throughout.

    Args:
        groups: scored groups; with `scale_rewards="batch"` all those of the generation batch.

    Raises:
        ConfigError: an unknown `scale_rewards`, a negative `std_correction` or `advantage_eps`.
    """
    scale = settings.scale_rewards
    if scale not in SCALES:
        hint = did_you_mean(str(scale), SCALES)
        raise ConfigError(f"scale_rewards: got {scale!r}, expected one of {', '.join(SCALES)}.{hint}")
    if settings.advantage_mode not in MODES:
        hint = did_you_mean(str(settings.advantage_mode), MODES)
        raise ConfigError(
            f"advantage_mode: got {settings.advantage_mode!r}, expected one of {', '.join(MODES)}.{hint}"
        )
    if settings.std_correction not in (0, 1):
        raise ConfigError(
            f"std_correction: got {settings.std_correction!r}, expected 0 (population) or 1 (sample)"
        )
    if not settings.advantage_eps >= 0.0:
        raise ConfigError(f"advantage_eps: got {settings.advantage_eps!r}, must not be negative")
    responses = [response for group in groups for response in group.responses]
    rewards = np.array([response.reward for response in responses], np.float64)
    offsets = np.zeros(len(groups) + 1, np.int64)
    np.cumsum([len(group.responses) for group in groups], out=offsets[1:])
    advantages, zero_std = _core.group_advantages(
        rewards, offsets, scale=cast(Any, scale), ddof=int(settings.std_correction), eps=float(settings.advantage_eps)
    )
    for response, advantage in zip(responses, advantages.tolist(), strict=True):
        response.advantage, response.plan_advantage = advantage, None
    if settings.advantage_mode == "hierarchical":
        hierarchical_advantages(
            groups, rewards, zero_std, scale, int(settings.std_correction), float(settings.advantage_eps)
        )
    applicable = ~np.isnan(rewards)
    spreads = [
        float(np.std(row[~np.isnan(row)]))
        for row in np.split(rewards, offsets[1:-1])
        if not np.isnan(row).all()
    ]
    return AdvantageStats(
        reward_mean=float(rewards[applicable].mean()) if applicable.any() else float("nan"),
        reward_std=float(np.mean(spreads)) if spreads else float("nan"),
        num_groups=len(groups),
        num_zero_std=int(np.count_nonzero(zero_std)),
        num_not_applicable=int(np.count_nonzero(~applicable)),
    )
