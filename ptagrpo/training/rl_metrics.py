"""Numbers of a rollout and of an update, under TRL's names; ours under plan/. Nothing here feeds back
into training.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ..algorithms import AdvantageStats
from ..records import Group
from ..rewards import RewardStats
from ..understanding import plan_metrics


def of_groups(
    groups: Sequence[Group], advantages: AdvantageStats, scored: Sequence[RewardStats]
) -> dict[str, float]:
    """Metrics of scored groups: rewards, lengths, plans. Groups that dynamic sampling dropped only count in
    `verdicts/` and in what reward functions logged."""
    responses = [response for group in groups for response in group.responses]
    metrics = {
        "reward": advantages.reward_mean,
        "reward_std": advantages.reward_std,
        "frac_reward_zero_std": advantages.frac_reward_zero_std,
    }
    for name in dict.fromkeys(name for response in responses for name in response.rewards):
        values = [r.rewards[name] for r in responses if r.rewards.get(name) is not None]
        if values:
            metrics[f"rewards/{name}/mean"] = float(np.mean(values))
            metrics[f"rewards/{name}/std"] = float(np.std(values))
    metrics |= _lengths([response.length for response in responses], "length")
    ended = [response.length for response in responses if response.finish == "eos"]
    if ended:
        metrics |= _lengths(ended, "terminated_length")
    metrics["completions/clipped_ratio"] = 1.0 - len(ended) / len(responses)
    metrics |= plan_metrics(groups, scored[-1].weights if scored else {})
    verdicts: dict[str, int] = {}
    for stats in scored:
        for status, count in stats.verdicts.items():
            verdicts[status] = verdicts.get(status, 0) + count
        metrics |= stats.metrics
    for status in ("correct", "wrong", "no_answer", "timeout", "error") if verdicts else ():
        metrics[f"verdicts/{status}"] = verdicts.get(status, 0) / sum(verdicts.values())
    sampled = [_joined(group, "logprobs") - _joined(group, "sampling_logprobs") for group in groups]
    ratios = np.exp(np.concatenate(sampled)) if sampled else np.zeros(0)
    if ratios.size:
        names = ("min", "mean", "max")
        values = (ratios.min(), ratios.mean(), ratios.max())
        metrics |= {
            f"sampling/importance_sampling_ratio/{n}": float(v) for n, v in zip(names, values, strict=True)
        }
    return metrics


def _joined(group: Group, name: str) -> np.ndarray:
    return np.concatenate([np.zeros(0), *(getattr(s, name).astype(np.float64) for s in group.segments[1:])])


def _lengths(lengths: Sequence[int], name: str) -> dict[str, float]:
    return {
        f"completions/mean_{name}": float(np.mean(lengths)),
        f"completions/min_{name}": float(min(lengths)),
        f"completions/max_{name}": float(max(lengths)),
    }


class UpdateStats:
    """Sums over the micro-batches of one optimizer step."""

    def __init__(self) -> None:
        self.loss = self.entropy = self.ratio_sum = self.kl = self.kl_weight = self.difference = 0.0
        self.count = self.low = self.high = self.targets = self.compared = 0
        self.ratio_min, self.ratio_max, self.difference_max = math.inf, -math.inf, 0.0

    def add(self, loss: float, stats: dict, entropies: np.ndarray) -> None:
        """Add what `_core.policy_loss` returned for a micro-batch, and the entropies of its targets."""
        self.loss += loss
        self.entropy += float(entropies.sum(dtype=np.float64))
        self.targets += len(entropies)
        self.count += stats["count"]
        self.low += stats["clip_low"]
        self.high += stats["clip_high"]
        self.ratio_sum += stats["ratio_sum"]
        self.ratio_min = min(self.ratio_min, stats["ratio_min"])
        self.ratio_max = max(self.ratio_max, stats["ratio_max"])
        self.kl += stats["kl_sum"]
        self.kl_weight += stats["kl_weight"]

    def compare(self, recomputed: np.ndarray, sampled: np.ndarray) -> None:
        """Add |recomputed - sampled| log-probabilities of targets whose weights have not changed since
        sampling.
        """
        gaps = np.abs(recomputed.astype(np.float64) - sampled)
        if gaps.size:
            self.difference += float(gaps.sum())
            self.compared += gaps.size
            self.difference_max = max(self.difference_max, float(gaps.max()))

    def metrics(self, beta: float) -> dict[str, float]:
        """Means over the targets that carry weight (kl: weighted; entropy: over all targets)."""
        count = max(1, self.count)
        found = {
            "loss": self.loss,
            "policy_loss": self.loss - (beta * self.kl),
            "entropy": self.entropy / max(1, self.targets),
            "clip_ratio/low_mean": self.low / count,
            "clip_ratio/high_mean": self.high / count,
            "clip_ratio/region_mean": (self.low + self.high) / count,
        }
        if self.count:
            found |= {
                "ratio/min": self.ratio_min,
                "ratio/mean": self.ratio_sum / count,
                "ratio/max": self.ratio_max,
            }
        if self.kl_weight > 0.0:
            found["kl"] = self.kl / self.kl_weight
        if self.compared:
            found["sampling/sampling_logp_difference/mean"] = self.difference / self.compared
            found["sampling/sampling_logp_difference/max"] = self.difference_max
        return found
