"""How responses are sampled."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import ConfigError


@dataclass(frozen=True)
class SamplingParams:
    """Sampling settings of a rollout; names and meanings as in TRL.

    temperature: > 0. The log-probabilities that training uses are taken under this temperature.
    top_p: in (0, 1], 1 = off. top_k: 0 = off. min_p: in [0, 1), 0 = off.
    max_completion_length: tokens of a response at most, plan and chain together, EOS counted.
    max_plan_length: tokens of a plan segment at most; a plan that is not closed by then is simply continued
        by its chains. None: half of `max_completion_length`.

    Raises:
        ConfigError: a value out of its range.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    max_completion_length: int = 512
    max_plan_length: int | None = None

    def __post_init__(self) -> None:
        if not 0.0 < self.temperature < float("inf"):
            raise ConfigError(
                f"temperature: got {self.temperature}, must be positive; a group of greedy responses "
                "would be one response many times"
            )
        if not 0.0 < self.top_p <= 1.0:
            raise ConfigError(f"top_p: got {self.top_p}, must be in (0, 1]; 1 turns it off")
        if self.top_k < 0:
            raise ConfigError(f"top_k: got {self.top_k}, must not be negative; 0 turns it off")
        if not 0.0 <= self.min_p < 1.0:
            raise ConfigError(f"min_p: got {self.min_p}, must be in [0, 1); 0 turns it off")
        if self.max_completion_length < 1:
            raise ConfigError(
                f"max_completion_length: got {self.max_completion_length}, need at least 1 token"
            )
        if self.max_plan_length is not None and self.max_plan_length < 1:
            raise ConfigError(f"max_plan_length: got {self.max_plan_length}, need at least 1 token")

    @property
    def plan_limit(self) -> int:
        """Tokens of a plan segment at most, never more than a response may have."""
        if self.max_plan_length is None:
            return max(1, self.max_completion_length // 2)
        return min(self.max_plan_length, self.max_completion_length)
