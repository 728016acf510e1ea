"""A plain float64 NumPy twin of rewards, advantages and loss: flat, one response at a time, nothing merged.

Not fast and not used in training. It is what the tests compare the real path with (rewards ->
`_core.group_advantages` -> `packing` -> `_core.policy_loss`), and it is written from the equations alone: it
shares no code with that path. Arrays are per response; `advantages[k]` is a number, `logprobs[k]`
float64[|o_k|].

Equations: 2 (plan), 4 (total), 7 and 8 (length), 10 (advantage), 9 (objective) of arXiv 2510.01833; the
hierarchical advantage is ours; loss
types and two-sided clipping as in TRL; k3 of Schulman, "Approximating KL Divergence" (2020).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def plan_reward(correct: np.ndarray, tau: float) -> tuple[np.ndarray, np.ndarray]:
    """Scores and softmax rewards of m plans (Eq. 2). correct: bool[m, z]. Returns (s[m], r[m])."""
    scores = correct.astype(np.float64).mean(axis=1)
    logits = scores / tau
    shifted = logits - logits.max()
    return scores, np.exp(shifted - np.log(np.exp(shifted).sum()))


def length_reward(lengths: np.ndarray, correct: np.ndarray, alpha: float, on: str) -> np.ndarray:
    """Eqs. 7 and 8 for one group. lengths: int[n]; correct: bool[n]; on: "all" | "correct"."""
    lengths = lengths.astype(np.float64)
    if not correct.any():
        return np.zeros(len(lengths))
    shortest = lengths[correct].min()
    span = lengths.max() - shortest
    distance = np.abs(lengths - shortest)
    if span > 0:
        reward = alpha * np.exp(-distance / span)
    else:
        reward = np.where(distance == 0, alpha, 0.0)
    return np.where(correct, reward, 0.0) if on == "correct" else reward


def overlong_reward(lengths: np.ndarray, limit: int, cache: int) -> np.ndarray:
    """DAPO's overlong punishment (its Eq. 13). Returns float64[n] between -1 and 0."""
    return -np.clip((lengths - (limit - cache)) / cache, 0.0, 1.0)


def total_rewards(
    correct: np.ndarray,
    follows: np.ndarray,
    lengths: np.ndarray,
    *,
    beta: float,
    tau: float,
    structure: float,
    alpha: float,
    on: str,
) -> np.ndarray:
    """Eq. 4 for one plan tree. correct, follows: bool[m, z]; lengths: int[m, z]. Returns float64[m * z]."""
    _, plan = plan_reward(correct, tau)
    per_plan = np.repeat(plan, correct.shape[1])
    by_length = length_reward(lengths.ravel(), correct.ravel(), alpha, on)
    return np.asarray(correct.ravel() + beta * per_plan + structure * follows.ravel() + by_length)


def advantages(rewards: Sequence[np.ndarray], scale: str, ddof: int, eps: float) -> list[np.ndarray]:
    """Group-relative advantages (Eq. 10). rewards: float64[n_g] per group, NaN = not applicable.

    scale: "group" divides by the group's standard deviation, "batch" by that of all rewards, "none" by
    nothing. A group (or, for "batch", a batch) whose applicable rewards are all equal gets 0.
    """
    everything = np.concatenate([row[~np.isnan(row)] for row in rewards]) if len(rewards) else np.zeros(0)
    result = []
    for row in rewards:
        there = ~np.isnan(row)
        values = row[there].astype(np.longdouble)
        out = np.zeros(len(row))
        if len(values) and values.max() > values.min():
            centred = values - values.mean()
            if scale == "group":
                centred = centred / (values.std(ddof=ddof) + eps)
            elif scale == "batch":
                centred = centred / (everything.astype(np.longdouble).std(ddof=ddof) + eps)
            out[there] = centred.astype(np.float64)
        result.append(out)
    return result


def hierarchical_advantages(
    rewards: np.ndarray, scale: str, ddof: int, eps: float, batch: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Advantages of plan and chain tokens, each against the mean of the *others*, one by one.

    rewards: float64[m, z] of one question, NaN = not applicable. batch: all rewards of the generation batch,
    for scale "batch". Returns (plans[m], chains[m, z]).
    """
    m, z = rewards.shape
    plans, chains = np.zeros(m), np.zeros((m, z))
    there = rewards[~np.isnan(rewards)].astype(np.longdouble)
    if len(there) == 0 or there.max() == there.min():
        return plans, chains
    divisor = np.longdouble(1.0)
    if scale != "none":
        values = there
        if scale == "batch" and batch is not None:
            values = batch[~np.isnan(batch)].astype(np.longdouble)
        divisor = values.std(ddof=ddof) + eps

    def mean(values: np.ndarray) -> np.longdouble:
        return np.nanmean(values.astype(np.longdouble))

    rated = [i for i in range(m) if not np.isnan(rewards[i]).all()]
    for i in rated:
        others = [mean(rewards[j]) for j in rated if j != i]
        if others:
            plans[i] = (mean(rewards[i]) - np.mean(others)) / divisor
        for k in range(z):
            siblings = np.delete(rewards[i], k)
            if not np.isnan(rewards[i, k]) and not np.isnan(siblings).all():
                chains[i, k] = (rewards[i, k] - mean(siblings)) / divisor
    return plans, chains


def token_weights(lengths: np.ndarray, loss_type: str, max_completion_length: int) -> np.ndarray:
    """Weight of one token of each response. lengths: int[R], all responses of the optimizer batch."""
    count = len(lengths)
    return {
        "grpo": 1.0 / (count * lengths),
        "dapo": np.full(count, 1.0 / lengths.sum()),
        "dr_grpo": np.full(count, 1.0 / (count * max_completion_length)),
        "sum": np.full(count, 1.0 / count),
    }[loss_type]


def policy_loss(
    logprobs: Sequence[np.ndarray],
    old: Sequence[np.ndarray],
    ref: Sequence[np.ndarray] | None,
    advantage: np.ndarray | Sequence[np.ndarray],
    weights: np.ndarray,
    *,
    epsilon_low: float,
    epsilon_high: float,
    beta: float = 0.0,
    delta: float | None = None,
) -> tuple[float, list[np.ndarray]]:
    """Clipped surrogate minus KL penalty (Eq. 9), and its gradient by the log-probabilities.

    For each token: -w min(r A, clip(r, 1 - eps_low, 1 + eps_high) A) + beta w k3, with r = exp(logprob - old)
    and k3 = exp(ref - logprob) - (ref - logprob) - 1. With `delta`, r is at most delta in the unclipped term.

    Args:
        logprobs, old, ref: float64[|o_k|] for each response k.
        advantage: float64[R], or for each response k float64[|o_k|], where its tokens differ.
        weights: float64[R].

    Returns:
        The loss and float64[|o_k|] for each response: its derivative by that response's own
        log-probabilities.
    """
    loss = 0.0
    gradients = []
    for k, (current, before) in enumerate(zip(logprobs, old, strict=True)):
        a, w = np.asarray(advantage[k], np.float64), float(weights[k])
        ratio = np.exp(current - before)
        capped = ratio if delta is None else np.minimum(ratio, delta)
        free = capped * a
        clipped = np.clip(ratio, 1.0 - epsilon_low, 1.0 + epsilon_high) * a
        loss -= w * np.minimum(free, clipped).sum()
        moves = (free <= clipped) & (ratio == capped)
        inside = (ratio >= 1.0 - epsilon_low) & (ratio <= 1.0 + epsilon_high)
        gradient = np.where(moves | ((clipped < free) & inside), -w * ratio * a, 0.0)
        if ref is not None and beta != 0.0:
            gap = ref[k] - current
            loss += beta * w * (np.expm1(gap) - gap).sum()
            gradient = gradient - beta * w * np.expm1(gap)
        gradients.append(gradient)
    return loss, gradients
