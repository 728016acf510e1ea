"""AdamW of the core against torch.optim.AdamW (where torch is installed) and a float64 twin."""

from __future__ import annotations

import numpy as np
import pytest

from ptagrpo import _core


def make_model(seed=0, hidden=24, vocab=67):
    config = dict(
        vocab_size=vocab,
        hidden_size=hidden,
        intermediate_size=40,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=6,
        rms_norm_eps=1e-6,
        tie_word_embeddings=False,
        attention_bias=True,
        qk_norm=True,
        inv_freq=np.ones(3),
    )
    model = _core.Model(config)
    rng = np.random.default_rng(seed)
    for weight in model.parameters().values():
        weight[...] = rng.normal(size=weight.shape) * 0.3
    return model


def fill_gradients(model, rng, size=1.0):
    for gradient in model.gradients().values():
        gradient[...] = rng.normal(size=gradient.shape) * size


def snapshot(model, optimizer):
    weights = {name: value.copy() for name, value in model.parameters().items()}
    moments = {name: (m.copy(), v.copy()) for name, (m, v) in optimizer.moments().items()}
    return weights, moments, optimizer.step_count


def same(a, b):
    return (
        a[2] == b[2]
        and all(np.array_equal(a[0][k], b[0][k]) for k in a[0])
        and all(np.array_equal(a[1][k][i], b[1][k][i]) for k in a[1] for i in (0, 1))
    )


class Twin:
    """AdamW in float64, from the equations of csrc/optim/adamw.h."""

    def __init__(self, model, beta1, beta2, eps):
        self.w = {name: value.astype(np.float64) for name, value in model.parameters().items()}
        self.m = {name: np.zeros_like(value) for name, value in self.w.items()}
        self.v = {name: np.zeros_like(value) for name, value in self.w.items()}
        self.beta1, self.beta2, self.eps, self.t = beta1, beta2, eps, 0

    def step(self, gradients, lr, weight_decay, max_norm):
        self.t += 1
        norm = np.sqrt(sum((g.astype(np.float64) ** 2).sum() for g in gradients.values()))
        factor = min(1.0, max_norm / (norm + 1e-6)) if max_norm > 0 else 1.0
        for name, value in self.w.items():
            g = gradients[name].astype(np.float64) * factor
            self.m[name] = self.beta1 * self.m[name] + (1 - self.beta1) * g
            self.v[name] = self.beta2 * self.v[name] + (1 - self.beta2) * g * g
            m = self.m[name] / (1 - self.beta1**self.t)
            v = self.v[name] / (1 - self.beta2**self.t)
            if value.ndim == 2:
                value *= 1 - lr * weight_decay
            value -= lr * m / (np.sqrt(v) + self.eps)
        return norm


@pytest.mark.parametrize(
    ("lr", "weight_decay", "max_norm", "size"),
    [
        (1e-3, 0.0, 0.0, 1.0),
        (3e-2, 0.1, 1.0, 1.0),
        (1e-2, 0.5, 1.0, 1e-3),
        (1e-6, 0.01, -1.0, 10.0),
        (0.0, 0.1, 1.0, 1.0),
    ],
)
def test_steps_equal_the_float64_twin(lr, weight_decay, max_norm, size):
    model, rng = make_model(), np.random.default_rng(1)
    before = {name: value.astype(np.float64) for name, value in model.parameters().items()}
    optimizer = _core.AdamW(model, 0.9, 0.95, 1e-8)
    twin = Twin(model, 0.9, 0.95, 1e-8)
    for step in range(1, 9):
        fill_gradients(model, rng, size * rng.uniform(0.2, 2.0))
        want = twin.step(model.gradients(), lr, weight_decay, max_norm)
        assert optimizer.step(lr, weight_decay, max_norm) == pytest.approx(want, rel=1e-12)
        assert optimizer.step_count == step
    for name, value in model.parameters().items():
        moved = np.abs(twin.w[name] - before[name]).max()
        np.testing.assert_allclose(value, twin.w[name], rtol=2e-6, atol=1e-6 * moved + 1e-8, err_msg=name)
        np.testing.assert_allclose(optimizer.moments()[name][0], twin.m[name], rtol=1e-4, atol=1e-6 * size)
        np.testing.assert_allclose(optimizer.moments()[name][1], twin.v[name], rtol=1e-5, atol=0)


@pytest.mark.parametrize("max_norm", [0.0, 0.5])
def test_steps_equal_torch(max_norm):
    torch = pytest.importorskip("torch", reason="torch is not installed (extra [oracle])")
    model, rng = make_model(3), np.random.default_rng(4)
    tensors = {
        name: torch.nn.Parameter(torch.from_numpy(value.copy())) for name, value in model.parameters().items()
    }
    matrices = [value for value in tensors.values() if value.ndim == 2]
    vectors = [value for value in tensors.values() if value.ndim == 1]
    theirs = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}],
        lr=1e-2,
        betas=(0.9, 0.999),
        eps=1e-8,
    )
    ours = _core.AdamW(model, 0.9, 0.999, 1e-8)
    for _ in range(10):
        fill_gradients(model, rng)
        for name, gradient in model.gradients().items():
            tensors[name].grad = torch.from_numpy(gradient.copy())
        norm = torch.nn.utils.clip_grad_norm_(tensors.values(), max_norm) if max_norm else None
        got = ours.step(1e-2, 0.1, max_norm)
        theirs.step()
        if norm is not None:
            assert got == pytest.approx(float(norm), rel=1e-5)
    for name, value in model.parameters().items():
        np.testing.assert_allclose(value, tensors[name].detach().numpy(), rtol=2e-5, atol=2e-6, err_msg=name)


def test_gradients_are_read_only_for_the_step_and_clipping_bounds_the_update():
    model = make_model()
    optimizer = _core.AdamW(model, 0.0, 0.0, 1.0)
    fill_gradients(model, np.random.default_rng(0), 100.0)
    kept = {name: value.copy() for name, value in model.gradients().items()}
    before = {name: value.astype(np.float64) for name, value in model.parameters().items()}
    norm = optimizer.step(1.0, 0.0, 1e-3)
    assert norm > 1000
    for name, value in model.gradients().items():
        np.testing.assert_array_equal(value, kept[name])
    # With betas 0 and eps 1 the update is g'/(|g'| + 1), close to g' itself, whose norm is max_norm.
    moved = np.sqrt(sum(((model.parameters()[name] - before[name]) ** 2).sum() for name in before))
    assert moved == pytest.approx(1e-3, rel=1e-2)


def test_the_result_does_not_depend_on_the_thread_count():
    results, threads = [], _core.get_num_threads()
    try:
        for count in (1, 2, 3, 7):
            _core.set_num_threads(count)
            model = make_model(5, hidden=72, vocab=701)
            optimizer = _core.AdamW(model, 0.9, 0.95, 1e-8)
            rng = np.random.default_rng(6)
            norms = []
            for _ in range(3):
                fill_gradients(model, rng)
                norms.append(optimizer.step(1e-2, 0.1, 1.0))
            results.append((norms, snapshot(model, optimizer)))
    finally:
        _core.set_num_threads(threads)
    for norms, state in results[1:]:
        assert norms == results[0][0]
        assert same(state, results[0][1])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(
    "name", ["model.embed_tokens.weight", "model.layers.1.self_attn.q_norm.weight", "lm_head.weight"]
)
def test_non_finite_gradients_change_nothing(value, name):
    model = make_model()
    optimizer = _core.AdamW(model, 0.9, 0.95, 1e-8)
    fill_gradients(model, np.random.default_rng(0))
    optimizer.step(1e-2, 0.1, 1.0)
    state = snapshot(model, optimizer)
    model.gradients()[name].reshape(-1)[-1] = value
    with pytest.raises(FloatingPointError, match=f"gradient of {name} is .*left as they were"):
        optimizer.step(1e-2, 0.1, 1.0)
    assert same(state, snapshot(model, optimizer))


def test_gradients_too_large_for_the_moments_are_refused_unless_clipped():
    model = make_model()
    optimizer = _core.AdamW(model, 0.9, 0.95, 1e-8)
    fill_gradients(model, np.random.default_rng(0), 1e25)
    state = snapshot(model, optimizer)
    with pytest.raises(FloatingPointError, match="above 1e18"):
        optimizer.step(1e-2, 0.0, 0.0)
    assert same(state, snapshot(model, optimizer))
    assert optimizer.step(1e-2, 0.0, 1.0) > 1e25
    assert all(np.isfinite(value).all() for value in model.parameters().values())


def test_saved_moments_continue_to_the_byte():
    def run(restart):
        model, rng = make_model(), np.random.default_rng(2)
        optimizer = _core.AdamW(model, 0.9, 0.95, 1e-8)
        for step in range(6):
            if step == 3 and restart:
                weights, moments, count = snapshot(model, optimizer)
                model = make_model(99)
                for name, value in model.parameters().items():
                    value[...] = weights[name]
                optimizer = _core.AdamW(model, 0.9, 0.95, 1e-8)
                for name, (m, v) in optimizer.moments().items():
                    m[...], v[...] = moments[name]
                optimizer.step_count = count
            fill_gradients(model, rng)
            optimizer.step(1e-2, 0.1, 1.0)
        return snapshot(model, optimizer)

    assert same(run(False), run(True))


def test_bad_arguments_and_states_are_refused():
    model = make_model()
    for beta1, beta2, eps, message in [
        (1.0, 0.9, 1e-8, "beta1 is 1"),
        (0.9, -0.1, 1e-8, "beta2 is -0.1"),
        (0.9, 0.9, 0.0, "eps is 0"),
        (float("nan"), 0.9, 1e-8, "beta1"),
    ]:
        with pytest.raises(ValueError, match=message):
            _core.AdamW(model, beta1, beta2, eps)
    with pytest.raises(TypeError, match="Model"):
        _core.AdamW("model", 0.9, 0.95, 1e-8)
    optimizer = _core.AdamW(model, 0.9, 0.95, 1e-8)
    with pytest.raises(RuntimeError, match="no gradients yet"):
        optimizer.step(1e-3, 0.0, 1.0)
    fill_gradients(model, np.random.default_rng(0))
    state = snapshot(model, optimizer)
    for arguments, message in [
        ((-1.0, 0.0, 1.0), "lr is -1"),
        ((1e-3, float("inf"), 1.0), "weight_decay is inf"),
        ((1e-3, 0.0, float("nan")), "max_grad_norm is NaN"),
    ]:
        with pytest.raises(ValueError, match=message):
            optimizer.step(*arguments)
    with pytest.raises(ValueError, match="step_count: expected 0 or more, got -1"):
        optimizer.step_count = -1
    with pytest.raises(TypeError):
        optimizer.step_count = "three"
    assert same(state, snapshot(model, optimizer))


def test_a_step_between_forward_and_backward_is_noticed():
    model = make_model()
    optimizer = _core.AdamW(model, 0.9, 0.95, 1e-8)
    fill_gradients(model, np.random.default_rng(0))
    forest = _core.Forest(np.arange(5, dtype=np.int32), np.array([0, 5], np.int32), np.array([-1], np.int32))
    rows = np.arange(4, dtype=np.int32)
    model.forward(forest, rows, rows + 1)
    optimizer.step(1e-3, 0.0, 1.0)
    with pytest.raises(RuntimeError, match="weights"):
        model.backward(np.ones(4, np.float32))


def test_views_keep_the_optimizer_and_the_model_alive():
    model = make_model()
    views = _core.AdamW(model, 0.9, 0.95, 1e-8).moments()
    weights = model.parameters()
    del model
    for name, (m, v) in views.items():
        assert m.shape == v.shape == weights[name].shape and not m.any()
        m += 1.0
        v += 1.0
        weights[name] += 1.0
