"""Policies: scoring, generating, cloning, random weights, and errors that name what is wrong."""

from __future__ import annotations

import numpy as np
import pytest

from ptagrpo import _core
from ptagrpo.errors import ConfigError, DataError
from ptagrpo.generation import cut_after_stop
from ptagrpo.policy import Policy, load

FAMILIES = ["llama", "qwen2", "qwen3"]


def one_by_one(policy, ids) -> np.ndarray:
    """Log-probabilities of a sequence from plain logits in float64: the slow twin of `Policy.logprobs`."""
    forest = _core.Forest(
        np.array(ids, np.int32), np.array([0, len(ids)], np.int32), np.array([-1], np.int32)
    )
    logits = policy.model.logits(forest, np.arange(len(ids) - 1, dtype=np.int32)).astype(np.float64)
    shifted = logits - logits.max(1, keepdims=True)
    logprobs = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    return logprobs[np.arange(len(ids) - 1), ids[1:]]


@pytest.mark.parametrize("family", FAMILIES)
def test_logprobs_of_many_sequences(tiny_policy, family, monkeypatch):
    monkeypatch.setattr("ptagrpo.policy.LOGPROB_TOKENS", 50)
    policy = tiny_policy(family)
    generator = np.random.default_rng(0)
    sequences = [generator.integers(0, policy.config.vocab_size, n).tolist() for n in (5, 1, 48, 3, 120, 2)]
    results = policy.logprobs(sequences)
    assert [r.dtype for r in results] == [np.float32] * 6
    assert [r.shape for r in results] == [(len(s) - 1,) for s in sequences]
    for sequence, result in zip(sequences, results, strict=True):
        if len(sequence) > 1:
            np.testing.assert_allclose(result, one_by_one(policy, sequence), rtol=0, atol=2e-5)
    assert policy.logprobs([]) == []
    assert policy.logprobs([[3]])[0].shape == (0,)


def test_ids_that_cannot_be_scored_are_named(tiny_policy):
    policy = tiny_policy()
    size = policy.config.vocab_size
    for bad, message in (
        ([], "sequence 1: expected one or more token ids"),
        ([1, size], f"sequence 1: token id {size} at position 1 is outside the vocabulary .0 to {size - 1}."),
        ([-1], "sequence 1: token id -1 at position 0"),
        ([1.5], "integers"),
        ([[1, 2]], "flat list"),
    ):
        with pytest.raises(DataError, match=message):
            policy.logprobs([[1, 2], bad])


@pytest.mark.parametrize("family", FAMILIES)
def test_generated_logprobs_are_those_of_scoring(tiny_policy, family):
    policy = tiny_policy(family)
    prompts = ["ab", [1, 2, 3], [{"role": "user", "content": "x"}]]
    results = policy.generate(prompts, n=3, max_new_tokens=20, seed=5, temperature=1.0)
    assert [len(r) for r in results] == [3, 3, 3]
    chat = policy.tokenizer.apply_chat_template([{"role": "user", "content": "x"}])
    assert chat == "<|user|>x<eos><|assistant|>"
    starts = [policy.tokenizer.encode("ab"), [1, 2, 3], policy.tokenizer.encode(chat)]
    for start, completions in zip(starts, results, strict=True):
        for c in completions:
            scored = policy.logprobs([start + c.token_ids.tolist()])[0][len(start) - 1 :]
            np.testing.assert_allclose(c.logprobs, scored, rtol=0, atol=1e-4)
            np.testing.assert_allclose(c.sampling_logprobs, c.logprobs, rtol=0, atol=1e-6)
            assert c.token_ids.dtype == np.int32 and c.finish_reason in ("eos", "length")
            assert (c.finish_reason == "eos") == (c.token_ids[-1] in policy.tokenizer.eos_token_ids)
            assert c.finish_reason == "eos" or len(c.token_ids) == 20
    assert len({tuple(c.token_ids) for r in results for c in r}) == 9


def test_a_completion_does_not_depend_on_its_batch(tiny_policy):
    policy = tiny_policy("qwen3")
    prompts = ["a", "bcd", "ef"]
    options = {"n": 4, "max_new_tokens": 12, "seed": 3, "top_p": 0.9}
    together = policy.generate(prompts, **options)
    for batch_size in (1, 3, 5):
        apart = policy.generate(prompts, batch_size=batch_size, **options)
        for left, right in zip(together, apart, strict=True):
            assert [c.token_ids.tolist() for c in left] == [c.token_ids.tolist() for c in right]
    keys = np.arange(7, dtype=np.uint64)
    alone = policy.generate(["bcd"], max_new_tokens=12, keys=keys[3:4], top_p=0.9)[0][0]
    among = policy.generate(
        ["a", "bcd", "ef", "g", "bcd", "a", "a"],
        max_new_tokens=12,
        top_p=0.9,
        keys=keys[[0, 3, 1, 2, 4, 5, 6]],
    )
    assert among[1][0].token_ids.tolist() == alone.token_ids.tolist()
    assert among[4][0].token_ids.tolist() != alone.token_ids.tolist()
    other_seed = policy.generate(prompts, **{**options, "seed": 4})
    assert [c.token_ids.tolist() for c in other_seed[0]] != [c.token_ids.tolist() for c in together[0]]


def test_greedy_takes_the_most_likely_token(tiny_policy):
    policy = tiny_policy("llama")
    ids = policy.tokenizer.encode("hello")
    c = policy.generate(["hello"], temperature=0, max_new_tokens=15)[0][0]
    whole = np.array(ids + c.token_ids.tolist(), np.int32)
    forest = _core.Forest(whole, np.array([0, whole.size], np.int32), np.array([-1], np.int32))
    rows = np.arange(len(ids) - 1, whole.size - 1, dtype=np.int32)
    assert policy.model.logits(forest, rows).argmax(1).tolist() == c.token_ids.tolist()


@pytest.mark.parametrize("kind", ["byte", "word"])
def test_stop_strings_across_token_borders(tiny_policy, kind):
    """A policy that always says the same thing: stop strings are found whatever tokens they fall into."""
    policy = tiny_policy(tokenizer=kind, tie_word_embeddings=False)
    script = policy.tokenizer.encode({"byte": "<plan>é ab</plan>x", "word": "<plan> a b </plan> c"}[kind])
    weights = policy.model.parameters()
    for name, weight in weights.items():  # no attention, no MLP: the next token follows from the last one
        if name.endswith(("o_proj.weight", "down_proj.weight")):
            weight[...] = 0
    weights["model.embed_tokens.weight"][...] = np.random.default_rng(0).standard_normal(
        (policy.config.vocab_size, 24)
    )
    embeddings, head = weights["model.embed_tokens.weight"], weights["lm_head.weight"]
    head[...] = 0
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    for token, following in zip(script, script[1:], strict=False):
        head[following] += unit[token]
    stops = {"byte": [["é a"], ["\xa9 a", "</plan>"], ["n>"]], "word": [["a b"], ["</plan>"], [" b </pl"]]}[
        kind
    ]
    for stop in stops:
        c = policy.generate([script[:1]], temperature=0, max_new_tokens=len(script) - 1, stop=stop)[0][0]
        text = policy.tokenizer.decode(script[1:])
        ends = [text.index(s) + len(s) for s in stop if s in text]
        assert c.finish_reason == "stop"
        assert c.token_ids.tolist() == script[1 : 1 + len(c.token_ids)]
        assert c.text == text[: min(ends)]
        shorter = policy.tokenizer.decode(c.token_ids[:-1])
        assert not any(s in shorter for s in stop)
    never = policy.generate([script[:1]], temperature=0, max_new_tokens=len(script) - 1, stop=["zzz"])[0][0]
    assert never.finish_reason == "length" and never.token_ids.tolist() == script[1:]


def test_stop_tables_are_kept_and_checked(tiny_policy):
    policy = tiny_policy()
    assert policy.stop_table(["a", "b"]) is policy.stop_table(["a", "b", "a"])
    assert policy.stop_table("ab") is policy.stop_table(["ab"])
    for bad in ([""], [3]):
        with pytest.raises(ConfigError, match="stop: expected strings"):
            policy.stop_table(bad)
    assert cut_after_stop("a b c", ["z"]) == "a b c"


def test_settings_out_of_range(tiny_policy):
    policy = tiny_policy()
    for options, message in (
        ({"n": 0}, "n: expected at least 1, got 0"),
        ({"max_new_tokens": 0}, "max_new_tokens"),
        ({"batch_size": 0}, "batch_size"),
        ({"keys": np.zeros(3, np.uint64)}, "keys: expected 1 of them"),
    ):
        with pytest.raises(ConfigError, match=message):
            policy.generate(["a"], **options)
    with pytest.raises(ConfigError, match="expected a list of prompts"):
        policy.generate("a")
    with pytest.raises(DataError, match="prompt 1: has no tokens"):
        policy.generate(["a", ""])
    with pytest.raises(DataError, match="prompt 0: token id 9999"):
        policy.generate([[9999]])
    for options in ({"temperature": -1.0}, {"top_p": 0.0}, {"top_k": -1}, {"min_p": 2.0}):
        with pytest.raises(ValueError):
            policy.generate(["a"], **options)
    assert policy.generate([]) == []
    policy.tokenizer.chat_template = None
    with pytest.raises(ConfigError, match="no chat template"):
        policy.generate([[{"role": "user", "content": "x"}]])


@pytest.mark.parametrize("family", FAMILIES)
def test_random_weights(tiny_policy, family):
    policy = tiny_policy(family, seed=7)
    weights = policy.model.parameters()
    again = tiny_policy(family, seed=7, num_hidden_layers=1).model.parameters()
    other = tiny_policy(family, seed=8).model.parameters()
    for name, weight in weights.items():
        if weight.ndim == 1:
            assert (weight == (0.0 if name.endswith("bias") else 1.0)).all()
        else:
            assert abs(weight.std() / 0.2 - 1) < 0.15 and abs(weight.mean()) < 0.04
            assert not np.array_equal(weight, other[name])
        if name in again:
            assert np.array_equal(weight, again[name])
    assert policy.num_parameters == policy.config.num_parameters == sum(w.size for w in weights.values())


def test_clone_has_weights_of_its_own(tiny_policy):
    policy = tiny_policy("qwen2")
    copy = policy.clone()
    before = policy.logprobs([[1, 2, 3, 4]])[0]
    assert np.array_equal(copy.logprobs([[1, 2, 3, 4]])[0], before)
    copy.model.parameters()["model.norm.weight"][...] *= 3
    assert np.array_equal(policy.logprobs([[1, 2, 3, 4]])[0], before)
    assert not np.array_equal(copy.logprobs([[1, 2, 3, 4]])[0], before)
    copy.load_weights_from(policy)
    assert np.array_equal(copy.logprobs([[1, 2, 3, 4]])[0], before)
    with pytest.raises(ConfigError, match="other tensors or shapes"):
        copy.load_weights_from(tiny_policy("llama"))


def test_load_and_save(tiny_policy, tmp_path):
    policy = tiny_policy()
    assert policy.save(tmp_path / "model") == tmp_path / "model"
    again = load(tmp_path / "model")
    assert isinstance(again, Policy)
    left, right = (p.generate(["ab"], max_new_tokens=8)[0][0] for p in (policy, again))
    assert left.token_ids.tolist() == right.token_ids.tolist() and left.text == right.text


def test_a_tokenizer_larger_than_the_vocabulary_is_refused(tiny_policy):
    with pytest.raises(
        ConfigError, match="the tokenizer has 266 tokens, more than the model's vocab_size 100"
    ):
        tiny_policy(vocab_size=100)


def test_a_padded_vocabulary(tiny_policy):
    """Ids that no token has can be sampled; they add nothing to the text."""
    policy = tiny_policy(vocab_size=300)
    c = policy.generate([[1]], n=8, max_new_tokens=30, stop=["zzzz"])
    assert any((x.token_ids >= 266).any() for x in c[0])
