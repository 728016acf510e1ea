"""One engine: what sampling records is, to the bit, what the training forward computes for the same tokens.

Whatever the number of threads, the batch, the depth of sharing, prefill or decoding, refill or not.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from generate_helpers import ids, make_model, roots, sample

from ptagrpo import _core

FAMILIES = {
    "llama": {"tied": False},
    "llama, tied": {"tied": True},
    "qwen2": {"bias": True, "tied": False},
    "qwen2, tied": {"bias": True, "tied": True, "heads": 14, "kv_heads": 2},
    "qwen3": {"qk_norm": True, "tied": False},
    "qwen3, tied": {"qk_norm": True, "tied": True, "head_dim": 40, "hidden": 72, "mlp": 101},
}
DTYPES = ["float32", "bfloat16"]
THREADS = [1, 2, 3, 4]
PROMPTS = [5, 64, 70, 131]  # inside a page, at its end, in the second, in the third
PLANS, CHAINS = 2, 3
VOCAB = 67
EXACT = ("tokens", "logprobs", "sampling_logprobs", "entropies")


@pytest.fixture(autouse=True)
def threads():
    """Restores the number of threads."""
    before = _core.get_num_threads()
    yield
    _core.set_num_threads(before)


@dataclass
class Node:
    """A segment of the tree; log-probabilities and entropies as sampled (None for a prompt)."""

    tokens: np.ndarray
    parent: int
    logprobs: np.ndarray | None = None
    entropies: np.ndarray | None = None


def model_of(family: str, dtype: str, **changes):
    return make_model(**{"vocab_size": VOCAB, "spread": 1.5, **FAMILIES[family], **changes}, dtype=dtype)


def prompts() -> list[np.ndarray]:
    random = np.random.default_rng(7)
    return [random.integers(0, VOCAB, length).astype(np.int32) for length in PROMPTS]


def draw_tree(model, temperature: float = 0.8, max_rows: int = 512) -> list[Node]:
    """Prompts, plans and chains, depth first."""
    cache = _core.Cache(model)
    starts = prompts()
    handles = cache.prefill(starts, roots(len(starts)))
    plan_of = np.repeat(np.arange(len(starts)), PLANS)
    plans = sample(
        cache, handles[plan_of], np.arange(len(plan_of)), [9, 60, 1, 33, 7, 64, 65, 2],
        temperature=temperature, eos=[3], max_rows=max_rows,
    )  # fmt: skip
    chain_of = np.repeat(np.arange(len(plan_of)), CHAINS)
    chains = sample(
        cache, plans["handles"][chain_of], np.arange(len(chain_of)) + 100, 20 + 5 * (chain_of % 4),
        temperature=temperature, eos=[3], max_rows=max_rows, keep=False,
    )  # fmt: skip
    nodes: list[Node] = []
    for i, prompt in enumerate(starts):
        nodes.append(Node(prompt, -1))
        root = len(nodes) - 1
        for plan in np.flatnonzero(plan_of == i):
            nodes.append(node(plans, plan, root))
            parent = len(nodes) - 1
            nodes += [node(chains, chain, parent) for chain in np.flatnonzero(chain_of == plan)]
    return nodes


def node(drawn: dict, index: int, parent: int) -> Node:
    return Node(drawn["tokens"][index], parent, drawn["logprobs"][index], drawn["entropies"][index])


def score(model, nodes: list[Node], temperature: float):
    """Model.forward of a forest of these segments: logprobs and entropies of every sampled token, in order."""
    ends = np.cumsum([len(n.tokens) for n in nodes])
    offsets = np.concatenate([[0], ends]).astype(np.int32)
    forest = _core.Forest(
        np.concatenate([n.tokens for n in nodes]), offsets, np.array([n.parent for n in nodes], np.int32)
    )
    source, target = [], []
    for number, n in enumerate(nodes):
        if n.logprobs is not None:
            source.append(
                np.concatenate([[ends[n.parent] - 1], np.arange(len(n.tokens) - 1) + offsets[number]])
            )
            target.append(n.tokens)
    return model.forward(
        forest, np.concatenate(source).astype(np.int32), np.concatenate(target), temperature, False
    )


def flat_paths(nodes: list[Node]) -> list[list[Node]]:
    """Every leaf's path from its root, renumbered as a chain of segments of its own."""
    parents = {n.parent for n in nodes}
    paths = []
    for leaf in range(len(nodes)):
        if leaf in parents:
            continue
        path, at = [], leaf
        while at >= 0:
            path.insert(0, nodes[at])
            at = nodes[at].parent
        paths.append([Node(n.tokens, i - 1, n.logprobs, n.entropies) for i, n in enumerate(path)])
    return paths


def recorded(nodes: list[Node]):
    sampled = [n for n in nodes if n.logprobs is not None]
    return np.concatenate([n.logprobs for n in sampled]), np.concatenate([n.entropies for n in sampled])


def assert_same_bits(left, right, what=""):
    for a, b in zip(left, right, strict=True):
        differ = np.flatnonzero(a.view(np.int32) != b.view(np.int32))
        assert not len(differ), (
            f"{what}: {len(differ)} of {len(a)} differ, first at {differ[0]}: {a[differ[0]]!r}, {b[differ[0]]!r}"
        )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("family", FAMILIES, ids=str)
def test_recorded_logprobs_are_the_training_forwards(family, dtype):
    """Plan trees sampled and scored with 1 to 4 threads, the forest at once and every response alone."""
    model = model_of(family, dtype)
    first = None
    for count in THREADS:
        _core.set_num_threads(count)
        nodes = draw_tree(model)
        first = first or nodes
        assert [n.tokens.tolist() for n in nodes] == [n.tokens.tolist() for n in first]
        assert_same_bits(recorded(nodes), recorded(first), f"{count} threads against {THREADS[0]}")
        assert_same_bits(score(model, nodes, 0.8), recorded(nodes), f"forest, {count} threads")
    for count in THREADS[:2]:
        _core.set_num_threads(count)
        for path in flat_paths(first):
            assert_same_bits(score(model, path, 0.8), recorded(path), f"flat, {count} threads")
    tokens = sum(len(n.tokens) for n in first if n.logprobs is not None)
    assert tokens > 300  # nothing of the above was empty


@pytest.mark.parametrize("dtype", DTYPES)
def test_keeping_a_tape_changes_no_bit(dtype):
    model = model_of("qwen2", dtype)
    nodes = draw_tree(model)
    ends = np.cumsum([len(n.tokens) for n in nodes])
    path = flat_paths(nodes)[0]
    sequence = np.concatenate([n.tokens for n in path])
    source = np.arange(len(path[0].tokens) - 1, len(sequence) - 1, dtype=np.int32)
    forest = _core.Forest(sequence, ids(0, len(sequence)), ids(-1))
    kept = model.forward(forest, source, sequence[len(path[0].tokens) :], 0.8, True)
    assert_same_bits(kept, recorded(path))
    assert ends[-1] > len(sequence)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "options", [{}, {"top_p": 0.9}, {"top_k": 9, "min_p": 0.02}, {"temperature": 0.0}], ids=str
)
def test_a_chain_is_the_same_alone_in_a_crowd_and_with_refill(dtype, options):
    model = model_of("qwen2, tied", dtype)
    cache = _core.Cache(model)
    handles = cache.prefill(prompts(), roots(len(PROMPTS)))
    parents, keys = np.tile(handles, 15), np.arange(60)
    limits = np.random.default_rng(1).integers(0, 40, 60)
    together = sample(cache, parents, keys, limits, eos=[5], **options)
    for max_rows in (1, 2, 7, 59):
        refilled = sample(cache, parents, keys, limits, eos=[5], max_rows=max_rows, keep=False, **options)
        for name in EXACT:
            assert_same_bits(refilled[name], together[name], f"{name}, {max_rows} rows")
        assert refilled["finish"].tolist() == together["finish"].tolist()
    for count in THREADS:
        _core.set_num_threads(count)
        for chain in (0, 1, 31, 59):
            alone = sample(
                cache,
                parents[chain : chain + 1],
                keys[chain : chain + 1],
                limits[chain : chain + 1],
                eos=[5],
                **options,
            )
            for name in EXACT:
                assert_same_bits(alone[name], together[name][chain : chain + 1], f"{name} of {chain} alone")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3"])
def test_prefill_at_once_in_pieces_and_token_by_token(family, dtype):
    """What follows a text does not depend on how the text came into the cache."""
    model = model_of(family, dtype)
    cache = _core.Cache(model)
    text = prompts()[3]
    whole = cache.prefill([text], roots(1))
    pieces = roots(1)
    for part in np.split(text, [1, 40, 64, 65, 127, 130]):
        pieces = cache.prefill([part], pieces)
    single = roots(1)
    for token in text:
        single = cache.prefill([ids(token)], single)
    crowd = cache.prefill([*prompts(), text, *prompts()], roots(2 * len(PROMPTS) + 1))[len(PROMPTS)]
    decoded = cache.prefill([text[:60]], roots(1))
    drawn = sample(cache, decoded, [11], 50)
    stored = cache.prefill([np.concatenate([text[:60], drawn["tokens"][0]])], roots(1))
    for left, right in [(whole, pieces), (whole, single), (whole, [crowd]), (drawn["handles"], stored)]:
        a, b = (sample(cache, parent, [4], 30) for parent in (left, right))
        for name in EXACT:
            assert_same_bits(a[name], b[name], name)


def test_a_chain_longer_than_many_pages():
    model = model_of("qwen3", "bfloat16", layers=1)
    cache = _core.Cache(model)
    handle = cache.prefill([ids(1, 2, 3)], roots(1))
    drawn = sample(cache, np.repeat(handle, 2), [0, 1], [700, 300])
    for tokens, logprobs in zip(drawn["tokens"], drawn["logprobs"], strict=True):
        nodes = [Node(ids(1, 2, 3), -1), Node(tokens, 0, logprobs)]
        assert_same_bits(score(model, nodes, 1.0)[:1], (logprobs,))
