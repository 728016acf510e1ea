"""Small models made of NumPy random numbers, and plain twins, for the tests of generation."""

from __future__ import annotations

import numpy as np

from ptagrpo import _core


def make_model(
    vocab_size=37, hidden=24, mlp=40, layers=2, heads=4, kv_heads=2, head_dim=8, tied=True, bias=False,
    qk_norm=False, seed=0, spread=1.0, dtype="float32",
):  # fmt: skip
    """A model of random weights; `spread` scales the matrices, to make distributions less uniform."""
    frequencies = 1e4 ** -(np.arange(0, head_dim, 2) / head_dim)
    model = _core.Model(
        {
            "vocab_size": vocab_size, "hidden_size": hidden, "intermediate_size": mlp,
            "num_hidden_layers": layers, "num_attention_heads": heads, "num_key_value_heads": kv_heads,
            "head_dim": head_dim, "rms_norm_eps": 1e-6, "tie_word_embeddings": tied, "attention_bias": bias,
            "qk_norm": qk_norm, "inv_freq": frequencies, "dtype": dtype,
        }
    )  # fmt: skip
    random = np.random.default_rng(seed)
    for name, view in model.parameters().items():
        if view.ndim == 2:
            view[:] = random.normal(size=view.shape) * spread / np.sqrt(view.shape[1])
        elif "norm" in name:
            view[:] = 1 + 0.2 * random.normal(size=view.shape)
        else:
            view[:] = 0.3 * random.normal(size=view.shape)
    return model


def logit_model(logits: np.ndarray):
    """A model whose logits after the one-token prompt [j] are logits[j] (up to float32 rounding).

    logits is [n, V] with n <= V. The layers are zero; token j embeds to a multiple of unit vector j, which
    the norm turns into that vector; column j of the head holds the logits.
    """
    n, vocab_size = logits.shape
    model = make_model(vocab_size, hidden=n, mlp=2, layers=1, heads=1, kv_heads=1, head_dim=2, tied=False)
    for view in model.parameters().values():
        view[:] = 0
    weights = model.parameters()
    weights["model.embed_tokens.weight"][np.arange(n), np.arange(n)] = 1e3
    weights["model.norm.weight"][:] = 1 / np.sqrt(n)
    weights["lm_head.weight"][:] = logits.T
    return model


def prompt_logits(model, prompts) -> np.ndarray:
    """float32[len(prompts), V]: the logits after each prompt, from the training forward pass."""
    offsets = np.cumsum([0] + [len(p) for p in prompts]).astype(np.int32)
    forest = _core.Forest(np.concatenate(prompts), offsets, np.full(len(prompts), -1, np.int32))
    return model.logits(forest, offsets[1:] - 1)


def ids(*tokens) -> np.ndarray:
    return np.array(tokens, np.int32)


def roots(count: int) -> np.ndarray:
    return np.full(count, -1, np.int64)


def sample(cache, parents, keys, max_new_tokens, **options) -> dict:
    """Cache.sample with kind arguments; the flat arrays come back cut into chains."""
    parents = np.asarray(parents, np.int64)
    limits = np.broadcast_to(np.asarray(max_new_tokens, np.int32), parents.shape).copy()
    if "eos" in options:
        options["eos"] = np.asarray(options["eos"], np.int32)
    result = cache.sample(parents, np.asarray(keys, np.uint64), limits, **options)
    cuts = np.cumsum(result["lengths"])[:-1]
    for name in ("tokens", "logprobs", "sampling_logprobs", "entropies"):
        result[name] = np.split(result[name], cuts) if len(parents) else []
    return result


def philox_words(keys, counters) -> list[np.ndarray]:
    """Philox4x32-10 in NumPy: the four words of (key, counter), as uint64."""
    low, shift = np.uint64(0xFFFFFFFF), np.uint64(32)
    keys, counters = np.broadcast_arrays(np.asarray(keys, np.uint64), np.asarray(counters, np.uint64))
    c = [counters & low, counters >> shift, np.zeros_like(counters), np.zeros_like(counters)]
    k = [keys & low, keys >> shift]
    for _ in range(10):
        product0, product1 = np.uint64(0xD2511F53) * c[0], np.uint64(0xCD9E8D57) * c[2]
        first, third = (product1 >> shift) ^ c[1] ^ k[0], (product0 >> shift) ^ c[3] ^ k[1]
        c = [first, product1 & low, third, product0 & low]
        k = [(k[0] + np.uint64(0x9E3779B9)) & low, (k[1] + np.uint64(0xBB67AE85)) & low]
    return c


def philox_uniform(keys, counters) -> np.ndarray:
    """Uniforms with 53 bits of (key, counter), as the core defines them."""
    first, second, *_ = philox_words(keys, counters)
    return (((first << np.uint64(32)) | second) >> np.uint64(11)).astype(np.float64) * 2.0**-53


class SamplerTwin:
    """What one row of logits should give, in float64, by sorting and masking."""

    def __init__(self, logits, temperature=1.0, top_k=0, top_p=1.0, min_p=0.0):
        z = np.asarray(logits, np.float64) / (temperature or 1.0)
        self.logprobs = z - z.max() - np.log(np.exp(z - z.max()).sum())
        p = np.exp(self.logprobs)
        self.entropy = -(p * np.where(p > 0, self.logprobs, 0)).sum()
        self.slack = np.inf  # how far the nearest filter decision is from going the other way
        keep = np.ones(len(z), bool)
        if top_k and top_k < len(z):
            keep = z >= np.sort(z)[-top_k]
        if top_p < 1:
            q = np.where(keep, p, 0) / p[keep].sum()
            order = np.sort(q)[::-1]
            above = np.concatenate([[0], np.cumsum(order)])[np.searchsorted(-order, -q, side="left")]
            near = np.abs(above[keep & (above > 0)] - top_p)
            self.slack = min(self.slack, near.min(initial=np.inf))
            keep &= above < top_p
        if min_p > 0:
            ratio = p / p.max()
            near = np.abs(ratio[keep & (ratio < 1)] - min_p)
            self.slack = min(self.slack, near.min(initial=np.inf))
            keep &= ratio >= min_p
        if temperature == 0:
            keep = np.arange(len(z)) == np.argmax(z)
        self.keep = keep
        self.probabilities = np.where(keep, p, 0) / p[keep].sum()
        with np.errstate(divide="ignore"):
            self.sampling_logprobs = np.log(self.probabilities)

    def draw(self, u: float) -> tuple[int, float]:
        """The token at u, and how far u is from the nearest border of the cumulative distribution."""
        cumulative = np.cumsum(self.probabilities)
        token = int(np.searchsorted(cumulative, u * cumulative[-1], side="right"))
        return min(token, int(np.flatnonzero(self.keep)[-1])), float(np.abs(cumulative - u).min())
