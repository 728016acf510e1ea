"""The settings of the built-in rewards: every open point of the paper is one of them."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..errors import ConfigError

LENGTH_REWARD_ON = ("all", "correct")


@dataclass(frozen=True)
class RewardSettings:
    """Which rewards count, and how much.

    outcome_reward: weight of the outcome reward (Eq. 3, 1 in Eq. 4); 0 leaves it out of the sum. Responses
        are judged all the same wherever there is a reference answer, since plan and length rewards need it.
    plan_reward_weight: the paper's beta of Eq. 4; 0 leaves the plan reward out. `use_plan_reward=False` does
        too.
    plan_temperature: tau of the softmax over plan scores (Eq. 2), > 0.
    structure_reward: value for a response that strictly follows the template (Eq. 6); 0 leaves it out.
    length_reward_weight: alpha of Eq. 8; 0 leaves it out.
    length_reward_on: "all" responses as printed, or only "correct" ones.
    overlong_cache_fraction: share of `max_completion_length` over which DAPO's overlong punishment falls from
        0 to -1; 0 turns it off.
    max_completion_length: the length limit, needed only for that.
    answer_kind: how answers are compared: "math" (math-verify) or "exact" (normalised text).
    reward_timeout: seconds that one call of one reward function may take; None: no limit.

    Raises:
        ConfigError: a value out of its range.
    """

    outcome_reward: float = 1.0
    use_plan_reward: bool = True
    plan_reward_weight: float = 0.5
    plan_temperature: float = 0.3
    structure_reward: float = 0.2
    length_reward_weight: float = 0.1
    length_reward_on: str = "all"
    overlong_cache_fraction: float = 0.0
    max_completion_length: int | None = None
    answer_kind: str = "math"
    reward_timeout: float | None = 60.0

    def __post_init__(self) -> None:
        for name in ("outcome_reward", "plan_reward_weight", "structure_reward", "length_reward_weight"):
            if not math.isfinite(getattr(self, name)):
                raise ConfigError(f"{name}: got {getattr(self, name)}, must be a finite number")
        if not 0.0 < self.plan_temperature < math.inf:
            raise ConfigError(f"plan_temperature: got {self.plan_temperature}, must be positive")
        if self.length_reward_on not in LENGTH_REWARD_ON:
            options = " or ".join(map(repr, LENGTH_REWARD_ON))
            raise ConfigError(f"length_reward_on: got {self.length_reward_on!r}, expected {options}")
        if not 0.0 <= self.overlong_cache_fraction <= 1.0:
            raise ConfigError(
                f"overlong_cache_fraction: got {self.overlong_cache_fraction}, must be in [0, 1]"
            )
        if self.overlong_cache_fraction > 0.0 and not (
            self.max_completion_length and self.max_completion_length > 0
        ):
            raise ConfigError(
                f"overlong_cache_fraction needs max_completion_length: got {self.max_completion_length!r}, "
                "need a positive integer"
            )
        if self.reward_timeout is not None and not self.reward_timeout > 0.0:
            raise ConfigError(
                f"reward_timeout: got {self.reward_timeout}, must be positive seconds, or None for no limit"
            )
