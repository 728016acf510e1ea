"""Forward, loss and backward in one call: the same bits as in two, for any thread count and however little is
kept; bfloat16 near float32; packed weights that follow the weights; the pool of threads; the memory plan."""

from __future__ import annotations

import os
import threading

import numpy as np
import pytest

from ptagrpo import _core
from ptagrpo.environment import parse_memory
from ptagrpo.errors import ConfigError
from ptagrpo.training.memory import MemoryPlan

V, T = 150, 160


def make_model(dtype="float32", seed=0):
    head = 16
    model = _core.Model(
        {
            "vocab_size": V, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 3,
            "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": head, "rms_norm_eps": 1e-6,
            "tie_word_embeddings": True, "attention_bias": True, "qk_norm": True,
            "inv_freq": 1 / 10000 ** (np.arange(0, head, 2) / head), "dtype": dtype,
        }
    )  # fmt: skip
    rng = np.random.default_rng(seed)
    for name, weight in model.parameters().items():
        weight[...] = rng.standard_normal(weight.shape) * 0.15 + (1 if "norm" in name else 0)
    return model


def make_batch():
    rng = np.random.default_rng(1)
    tokens = rng.integers(0, V, T).astype(np.int32)
    forest = _core.Forest(tokens, np.array([0, 30, 70, 110, T], np.int32), np.array([-1, 0, 1, 0], np.int32))
    weights = rng.standard_normal(T - 1).astype(np.float32)
    return forest, np.arange(T - 1, dtype=np.int32), np.ascontiguousarray(tokens[1:]), weights


def gradients(model):
    return {name: gradient.copy() for name, gradient in model.gradients().items()}


@pytest.fixture(autouse=True)
def restore_threads():
    threads = _core.get_num_threads()
    yield
    _core.set_num_threads(threads)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_one_call_has_the_bits_of_two_for_any_threads_and_any_keep(dtype):
    model, (forest, source, target, weights) = make_model(dtype), make_batch()
    logprobs, entropies = model.forward(forest, source, target)
    model.backward(-weights)
    expected = gradients(model)
    for keep in ("all", "inputs"):
        for threads in (1, 2, 3, 4):
            _core.set_num_threads(threads)
            model.zero_grad()
            loss, *got = _core.train_likelihood(model, forest, source, target, weights, keep=keep)
            assert np.array_equal(got[0], logprobs) and np.array_equal(got[1], entropies)
            assert loss == pytest.approx(-np.dot(weights.astype(np.float64), logprobs), rel=1e-12)
            for name, gradient in gradients(model).items():
                assert np.array_equal(gradient, expected[name]), (name, keep, threads)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_policy_pass_is_policy_loss_between_forward_and_backward(dtype):
    model, (forest, source, target, weights) = make_model(dtype), make_batch()
    rng = np.random.default_rng(2)
    logprobs, _ = model.forward(forest, source, target, temperature=0.7)
    old = (logprobs + 0.3 * rng.standard_normal(len(logprobs))).astype(np.float32)
    ref = (logprobs + 0.3 * rng.standard_normal(len(logprobs))).astype(np.float32)
    w_pos, w_neg, w_kl = np.maximum(weights, 0), np.minimum(weights, 0), np.abs(weights)
    settings = (0.2, 0.3, 0.05)
    loss, dlogprobs, stats = _core.policy_loss(logprobs, old, ref, w_pos, w_neg, w_kl, *settings)
    model.backward(dlogprobs)
    expected = gradients(model)
    model.zero_grad()
    result = _core.train_policy(
        model, forest, source, target, old, ref, w_pos, w_neg, w_kl, *settings, temperature=0.7
    )
    assert result[0] == loss and np.array_equal(result[1], logprobs) and result[3] == stats
    assert all(np.array_equal(gradient, expected[name]) for name, gradient in gradients(model).items())


def test_bfloat16_is_near_float32():
    batch = make_batch()
    found = []
    for dtype in ("float32", "bfloat16"):
        model = make_model(dtype)
        _core.train_likelihood(model, *batch)
        found.append((model.forward(*batch[:3], keep=False)[0], gradients(model)))
    (exact, exact_gradients), (near, near_gradients) = found
    assert 0 < np.abs(near - exact).max() < 0.1
    for name, gradient in exact_gradients.items():
        error = np.linalg.norm(near_gradients[name] - gradient) / np.linalg.norm(gradient)
        assert error < 0.06, (name, error)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_packed_weights_follow_the_weights(dtype):
    model, (forest, source, target, weights) = make_model(dtype), make_batch()
    other = make_model(dtype, seed=5)
    before = model.forward(forest, source, target, keep=False)[0]
    views, wanted = model.parameters(), other.parameters()
    for name, view in views.items():
        view[...] = wanted[name]
    expected = other.forward(forest, source, target, keep=False)[0]
    assert not np.array_equal(before, expected)
    assert np.array_equal(model.forward(forest, source, target, keep=False)[0], expected)  # a view is alive
    views["model.norm.weight"][...] *= 2
    del views
    changed = model.forward(forest, source, target, keep=False)[0]
    assert not np.array_equal(changed, expected)
    optimizer = _core.AdamW(model, 0.9, 0.95, 1e-8)
    _core.train_likelihood(model, forest, source, target, weights)
    optimizer.step(1e-2, 0.01, 1.0, zero_grad=True)  # packs what it updates
    stepped = model.forward(forest, source, target, keep=False)[0]
    model.parameters()  # packed anew from the masters after this
    assert np.array_equal(model.forward(forest, source, target, keep=False)[0], stepped)
    assert not any(gradient.any() for gradient in model.gradients().values())


def test_threads_compute_side_by_side_and_a_forked_child_computes():
    batch = make_batch()[:3]
    models = [make_model() for _ in range(3)]
    expected = models[0].forward(*batch, keep=False)[0]
    found = [None] * 3

    def run(index):
        for _ in range(10):
            found[index] = models[index].forward(*batch, keep=False)[0]

    _core.set_num_threads(3)
    workers = [threading.Thread(target=run, args=(index,)) for index in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert all(np.array_equal(result, expected) for result in found)
    child = os.fork()
    if child == 0:
        same = np.array_equal(models[0].forward(*batch, keep=False)[0], expected)
        os._exit(0 if same else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_memory_plan_keeps_inputs_where_all_does_not_fit_and_refuses_what_cannot(tmp_path):
    from ptagrpo.training import SFTConfig

    forest, source, target, weights = make_batch()
    model = make_model()

    class Batch:
        num_tokens = T
        pictures = ()

    Batch.forest, Batch.target = forest, target
    sizes = {keep: _core.train_bytes(model, forest, len(target), keep) for keep in ("all", "inputs")}
    assert sizes["inputs"] < sizes["all"]
    plan = MemoryPlan(model, SFTConfig(output_dir=str(tmp_path), max_tokens_per_micro_batch=500))
    assert plan.micro_batch_tokens == 500 and plan.keep(Batch) == "all"
    plan.budget = sizes["all"] - 1
    assert plan.keep(Batch) == "inputs"
    plan.budget = sizes["inputs"] - 1
    with pytest.raises(ConfigError, match=r"micro-batch of 160 tokens needs .* GiB .*max_memory"):
        plan.keep(Batch)
    assert MemoryPlan(model, SFTConfig(output_dir=str(tmp_path))).micro_batch_tokens == 16384


@pytest.mark.parametrize(
    "text, expected", [("12GiB", 12 << 30), ("50%", 500), ("800 MB", 800 << 20), (4096, 4096), ("1.5g", 3 << 29)]
)
def test_memory_sizes(text, expected):
    assert parse_memory(text, 1000) == expected


@pytest.mark.parametrize("text", ["", "much", "-1GiB", "0", "5 apples", "1.2.3GB"])
def test_memory_sizes_that_are_none(text):
    with pytest.raises(ConfigError, match="max_memory"):
        parse_memory(text, 1000)
