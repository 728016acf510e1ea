"""Cached decoding against the training forward pass, and what a response may and may not depend on."""

from __future__ import annotations

import numpy as np
import pytest
from generate_helpers import ids, make_model, prompt_logits, roots, sample

from ptagrpo import _core

VARIANTS = {
    "grouped heads, tied": {},
    "untied, bias": {"tied": False, "bias": True},
    "query and key norms": {"qk_norm": True, "heads": 6, "kv_heads": 3},
    "one key head, wide heads": {"heads": 3, "kv_heads": 1, "head_dim": 40},
    "all heads their own, two lanes' width": {"heads": 4, "kv_heads": 4, "head_dim": 16},
    "wide enough for products of few rows": {"hidden": 263, "mlp": 301, "tied": False, "vocab_size": 41},
    "seven query heads a key head": {"heads": 14, "kv_heads": 2, "head_dim": 6, "layers": 3},
}


def random_prompts(lengths, vocab_size, seed=0) -> list[np.ndarray]:
    random = np.random.default_rng(seed)
    return [random.integers(0, vocab_size, n).astype(np.int32) for n in lengths]


def recompute(model, before, tokens, temperature):
    """Log-probabilities and entropies of `tokens` after `before`, from Model.forward."""
    sequence = np.concatenate([before, tokens]).astype(np.int32)
    forest = _core.Forest(sequence, ids(0, len(sequence)), ids(-1))
    source = np.arange(len(before) - 1, len(sequence) - 1, dtype=np.int32)
    return model.forward(forest, source, sequence[len(before) :], temperature, False)


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_three_levels_of_segments_equal_the_forward_pass(variant):
    """Prompt, plan, chain: what was recorded while sampling equals the flat sequence's."""
    model = make_model(**VARIANTS[variant])
    vocab_size = model.config["vocab_size"]
    prompts = random_prompts([1, 31, 32, 33, 70, 5], vocab_size)
    cache = _core.Cache(model)
    handles = cache.prefill(prompts, roots(len(prompts)))
    plan_of = np.repeat(np.arange(len(prompts)), 2)
    plans = sample(cache, handles[plan_of], np.arange(12), [1, 32, 33, 7, 31, 64] * 2, eos=[3])
    chain_of = np.repeat(np.arange(12), 3)
    chains = sample(cache, plans["handles"][chain_of], np.arange(36) + 100, 40, temperature=0.7)
    deeper = sample(cache, chains["handles"], np.arange(36) + 200, 3, temperature=1.3)
    for chain in range(36):
        plan = chain_of[chain]
        before = prompts[plan_of[plan]]
        for level, index, temperature in ((plans, plan, 1.0), (chains, chain, 0.7), (deeper, chain, 1.3)):
            tokens = level["tokens"][index]
            logprobs, entropies = recompute(model, before, tokens, temperature)
            np.testing.assert_allclose(level["logprobs"][index], logprobs, atol=1e-5)
            np.testing.assert_allclose(level["sampling_logprobs"][index], logprobs, atol=1e-5)
            np.testing.assert_allclose(level["entropies"][index], entropies, atol=1e-5)
            before = np.concatenate([before, tokens])


def test_greedy_decoding_is_the_argmax_of_the_training_logits():
    model = make_model(spread=2.0)
    prompts = random_prompts([4, 9, 40], 37, seed=3)
    cache = _core.Cache(model)
    result = sample(cache, cache.prefill(prompts, roots(3)), [0, 1, 2], 12, temperature=0.0)
    for prompt, tokens, logprobs in zip(prompts, result["tokens"], result["logprobs"], strict=True):
        text = prompt
        for token in tokens:
            logits = prompt_logits(model, [text])[0]
            assert logits[token] >= logits.max() - 1e-5
            text = np.append(text, token).astype(np.int32)
        np.testing.assert_allclose(logprobs, recompute(model, prompt, tokens, 1.0)[0], atol=1e-5)


def test_prefill_in_pieces_equals_decoding_and_prefill_at_once():
    """The same text stored in three ways goes on in the same way."""
    model = make_model()
    cache = _core.Cache(model)
    prompt = random_prompts([45], 37, seed=1)[0]
    whole = cache.prefill([prompt], roots(1))
    piece = cache.prefill([prompt[:20]], roots(1))
    for part in (prompt[20:20], prompt[20:41], prompt[41:]):
        piece = cache.prefill([part], piece)
    drawn = sample(cache, whole, [5], 30)
    again = sample(cache, piece, [5], 30)
    assert drawn["tokens"][0].tolist() == again["tokens"][0].tolist()
    np.testing.assert_allclose(drawn["logprobs"][0], again["logprobs"][0], atol=1e-5)
    stored = cache.prefill([np.concatenate([prompt, drawn["tokens"][0]])], roots(1))
    after = [sample(cache, parent, [8], 20) for parent in (drawn["handles"], stored)]
    assert after[0]["tokens"][0].tolist() == after[1]["tokens"][0].tolist()
    np.testing.assert_allclose(after[0]["logprobs"][0], after[1]["logprobs"][0], atol=1e-5)


def test_prompts_larger_than_one_batch():
    """More tokens than a batch holds: prompts that begin, end and lie across the borders."""
    model = make_model()
    prompts = random_prompts([511, 1, 0, 600, 512, 3, 1100], 37, seed=2)
    cache = _core.Cache(model)
    handles = cache.prefill(prompts, roots(len(prompts)))
    chosen = [i for i, prompt in enumerate(prompts) if len(prompt)]
    result = sample(cache, handles[chosen], np.arange(len(chosen)), 2)
    for index, tokens, logprobs in zip(chosen, result["tokens"], result["logprobs"], strict=True):
        expected = recompute(model, prompts[index], tokens, 1.0)[0]
        np.testing.assert_allclose(logprobs, expected, atol=1e-5)


def test_a_response_does_not_depend_on_its_batch_or_on_threads():
    model = make_model()
    cache = _core.Cache(model)
    prompts = random_prompts([3, 50, 17, 33], 37, seed=4)
    handles = cache.prefill(prompts, roots(4))
    parents, keys = np.tile(handles, 200), np.arange(800)
    together = sample(cache, parents, keys, 24, top_p=0.9, eos=[5])
    order = np.random.default_rng(0).permutation(800)
    shuffled = sample(cache, parents[order], keys[order], 24, top_p=0.9, eos=[5])
    for place, chain in enumerate(order):
        assert shuffled["tokens"][place].tolist() == together["tokens"][chain].tolist()
    threads = _core.get_num_threads()
    try:
        for count in (1, 3):
            _core.set_num_threads(count)
            for chain in (0, 1, 401, 799):
                alone = sample(cache, parents[chain : chain + 1], [keys[chain]], 24, top_p=0.9, eos=[5])
                assert alone["tokens"][0].tolist() == together["tokens"][chain].tolist()
                np.testing.assert_allclose(alone["logprobs"][0], together["logprobs"][chain], atol=1e-5)
    finally:
        _core.set_num_threads(threads)


def test_a_prefix_of_the_limit_is_a_prefix_of_the_response():
    """Draw i depends on the key and i alone, not on max_new_tokens."""
    cache = _core.Cache(make_model())
    handle = cache.prefill([ids(1, 2, 3)], roots(1))
    long = sample(cache, handle, [7], 30)["tokens"][0]
    assert sample(cache, handle, [7], 11)["tokens"][0].tolist() == long[:11].tolist()


def test_ends_of_chains():
    """eos is part of the chain, limits hold, and finish says which of the two it was."""
    cache = _core.Cache(make_model())
    handles = np.repeat(cache.prefill([ids(1, 2, 3)], roots(1)), 300)
    free = sample(cache, handles, np.arange(300), 30)
    ended = sample(cache, handles, np.arange(300), 30, eos=[4, 9])
    for whole, cut, finish in zip(free["tokens"], ended["tokens"], ended["finish"], strict=True):
        hits = np.flatnonzero(np.isin(whole, [4, 9]))
        assert finish == (1 if len(hits) else 0)
        assert cut.tolist() == whole[: hits[0] + 1 if len(hits) else 30].tolist()
    assert 0 < (ended["finish"] == 1).sum() < 300
    limits = sample(cache, handles[:5], np.arange(5), [0, 1, 2, 0, 3])
    assert limits["lengths"].tolist() == [0, 1, 2, 0, 3]
    assert [t.tolist() for t in limits["tokens"]] == [
        free["tokens"][i][: limits["lengths"][i]].tolist() for i in range(5)
    ]


def test_empty_segments_are_transparent():
    """A chain of no tokens continues exactly as its parent would."""
    cache = _core.Cache(make_model())
    handle = cache.prefill([ids(4, 5)], roots(1))
    plan = sample(cache, handle, [1], 6)
    empty = sample(cache, plan["handles"], [2], 0)
    assert empty["lengths"].tolist() == [0] and empty["finish"].tolist() == [0]
    empty = cache.prefill([ids()], sample(cache, empty["handles"], [3], 0)["handles"])
    direct, through = (sample(cache, parent, [9], 12) for parent in (plan["handles"], empty))
    assert direct["tokens"][0].tolist() == through["tokens"][0].tolist()
    root = cache.prefill([ids()], roots(1))
    assert sample(cache, root, [9], 0)["lengths"].tolist() == [0]
    with pytest.raises(ValueError, match="prompt is empty"):
        sample(cache, root, [9], 1)
    filled = cache.prefill([ids(4, 5)], root)
    expected = sample(cache, handle, [9], 12)["tokens"][0]
    assert sample(cache, filled, [9], 12)["tokens"][0].tolist() == expected.tolist()
    assert sample(cache, roots(0), [], 3)["lengths"].shape == (0,)


def test_tens_of_thousands_of_chains():
    cache = _core.Cache(make_model(vocab_size=16, hidden=8, mlp=8, layers=1, heads=1, kv_heads=1))
    handles = cache.prefill([ids(1), ids(2, 3)], roots(2))
    parents = np.tile(handles, 10_000)
    result = sample(cache, parents, np.arange(20_000), 3, eos=[0])
    assert len(result["tokens"]) == 20_000 and cache.num_segments == 20_002
    few = sample(cache, parents[15_000:15_004], np.arange(15_000, 15_004), 3, eos=[0])
    assert [t.tolist() for t in few["tokens"]] == [t.tolist() for t in result["tokens"][15_000:15_004]]
