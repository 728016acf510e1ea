"""Plain NumPy twins of the core's operations, forward only, in float64: read these to know what C computes.

Gradients are tested against finite differences of these twins: no backward formula is compared with itself.
"""

from __future__ import annotations

import numpy as np


def rmsnorm(x, w, eps):
    """x[T, C] / rms(x) * w."""
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + eps) * w


def swiglu(gate_up):
    """silu(gate) * up of [T, 2F] = [gate | up]."""
    gate, up = np.split(gate_up, 2, axis=-1)
    return gate / (1 + np.exp(-gate)) * up


def logprobs(logits, target, temperature):
    """Log-probabilities of targets and entropies of softmax(logits / temperature)."""
    z = logits / temperature
    z = z - z.max(-1, keepdims=True)
    log_p = z - np.log(np.exp(z).sum(-1, keepdims=True))
    return log_p[np.arange(len(target)), target], -(np.exp(log_p) * log_p).sum(-1)


def heads(qkv, bias, q_norm, k_norm, rope, position, H, K, D, eps):
    """Bias, optional norm of each q and k head, rotation of the halves; v only gets the bias."""
    T = len(qkv)
    x = (qkv + bias).reshape(T, H + 2 * K, D).copy()
    if q_norm is not None:
        x[:, :H] = rmsnorm(x[:, :H], q_norm, eps)
        x[:, H : H + K] = rmsnorm(x[:, H : H + K], k_norm, eps)
    cos, sin = (part[:, None, :] for part in np.split(rope[position], 2, axis=-1))
    a, b = np.split(x[:, : H + K], 2, axis=-1)
    x[:, : H + K] = np.concatenate([a * cos - b * sin, b * cos + a * sin], axis=-1)
    return x.reshape(T, -1)


def visible(offsets, parent):
    """bool[T, T]: may query i see key j. From the definition: own segment up to i, and all ancestors."""
    T = offsets[-1]
    mask = np.zeros((T, T), bool)
    for s in range(len(parent)):
        for i in range(offsets[s], offsets[s + 1]):
            mask[i, offsets[s] : i + 1] = True
            a = parent[s]
            while a >= 0:
                mask[i, offsets[a] : offsets[a + 1]] = True
                a = parent[a]
    return mask


def attention(qkv, mask, H, K, D):
    """Masked softmax attention with grouped query heads; out[T, H*D] and log-sum-exp [T, H]."""
    T = len(qkv)
    x = qkv.reshape(T, H + 2 * K, D)
    out, lse = np.zeros((T, H, D)), np.zeros((T, H))
    for h in range(H):
        g = h // (H // K)
        score = x[:, h] @ x[:, H + g].T / np.sqrt(D)
        score = np.where(mask, score, -np.inf)
        top = score.max(-1)
        e = np.exp(score - top[:, None])
        lse[:, h] = top + np.log(e.sum(-1))
        out[:, h] = e / e.sum(-1, keepdims=True) @ x[:, H + K + g]
    return out.reshape(T, -1), lse
