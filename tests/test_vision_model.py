"""A vision tower and multimodal rotary embedding in the core: logits, loss and every gradient against transformers in
float64 (live where torch is, else stored), with no, one and three images in a batch; the same bits in a forest, in
sampling, with other pictures beside, and for any number of threads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from vision_helpers import CONFIG, GRIDS, core_model, forest_of, make_sequence, see

from ptagrpo import _core

FIXTURE = Path(__file__).parent / "fixtures" / "vision.npz"
LIMIT = 1e-5  # largest relative error of a tensor, as for the text families


def weights_of(model: _core.Model, seed: int = 1) -> dict[str, np.ndarray]:
    """Random weights, large enough that every path matters."""
    rng, weights = np.random.default_rng(seed), {}
    for name, view in model.parameters().items():
        normal = rng.standard_normal(view.shape)
        weights[name] = (1 + 0.1 * normal if "norm" in name or "ln_q" in name else 0.3 * normal).astype(
            np.float32
        )
        view[...] = weights[name]
    return weights


def sequences() -> list:
    return [make_sequence(grids, 10 + i) for i, grids in enumerate(GRIDS)]


def pictures_of(rows) -> list:
    return [picture for _, pictures in rows for picture in pictures]


def signs(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """±1 by a tensor's name: its gradient's sum with these is stored instead of the gradient."""
    return np.random.default_rng(sum(map(ord, name))).choice([-1.0, 1.0], shape)


def ours(tied: bool) -> dict:
    """Logits, loss and gradients of everything, tower included."""
    model = core_model({**CONFIG, "tie_word_embeddings": tied})
    weights = weights_of(model)
    model.train_tower(True)
    rows = sequences()
    cut = [(tokens[:-1], pictures) for tokens, pictures in rows]
    forest = forest_of(cut, see(model, pictures_of(cut), keep=True))
    source = np.arange(forest.num_tokens, dtype=np.int32)
    target = np.concatenate([tokens[1:] for tokens, _ in rows]).astype(np.int32)
    logits = model.logits(forest, source)
    each = np.full(len(source), 1 / len(source), np.float32)
    loss, _, _ = _core.train_likelihood(model, forest, source, target, each)
    model.see_backward(model.input_gradients())
    gradients = {name: gradient.copy() for name, gradient in model.gradients().items()}
    return {"weights": weights, "logits": logits, "loss": loss, "gradients": gradients}


def yardstick(tied: bool, weights: dict[str, np.ndarray]) -> dict:
    vision_oracle = pytest.importorskip(
        "vision_oracle", reason="torch is not installed: stored results are compared"
    )
    given = [
        (tokens, [(p.processor.patches(p), p.grid) for p in pictures]) for tokens, pictures in sequences()
    ]
    return vision_oracle.compute({**CONFIG, "tie_word_embeddings": tied}, weights, given)


def relative(found: np.ndarray, wanted: np.ndarray) -> float:
    return float(np.abs(found - wanted).max() / max(np.abs(wanted).max(), 1e-30))


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
def test_logits_loss_and_every_gradient_against_transformers(tied):
    found = ours(tied)
    wanted = yardstick(tied, found["weights"])
    assert relative(found["logits"], np.concatenate(wanted["logits"])) < LIMIT
    assert abs(found["loss"] - wanted["loss"]) < LIMIT * wanted["loss"]
    assert set(found["gradients"]) == set(wanted["gradients"]) and len(found["gradients"]) == 69 - tied
    for name, gradient in found["gradients"].items():
        assert relative(gradient, wanted["gradients"][name].reshape(gradient.shape)) < LIMIT, name


def test_logits_loss_and_gradients_against_the_stored_results():
    """What transformers and torch gave in float64 (tests/make_vision_fixture.py)."""
    found, stored = ours(True), np.load(FIXTURE)
    assert relative(found["logits"], stored["logits"]) < LIMIT
    assert abs(found["loss"] - stored["loss"]) < LIMIT * stored["loss"]
    for name, gradient in found["gradients"].items():
        total, size = stored[f"sum {name}"], stored[f"size {name}"]
        sum_of_ours = float((gradient.astype(np.float64) * signs(name, gradient.shape)).sum())
        assert abs(sum_of_ours - total) < LIMIT * size * gradient.size**0.5, name


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_picture_is_seen_the_same_alone_and_among_others_and_by_any_number_of_threads(dtype):
    model = core_model(CONFIG, dtype=dtype)
    weights_of(model)
    pictures = pictures_of(sequences())
    together = see(model, pictures)
    alone = np.concatenate([see(model, [picture]) for picture in pictures])
    assert np.array_equal(together, alone) and np.isfinite(together).all()
    threads = _core.get_num_threads()
    try:
        for count in (1, 3):
            _core.set_num_threads(count)
            assert np.array_equal(see(model, pictures), together)
    finally:
        _core.set_num_threads(threads)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_sampled_logprobs_are_the_training_forwards_and_a_forest_is_its_paths(dtype):
    """A prompt with pictures, two plans, two chains each; every chain again as a flat sequence of its own."""
    model = core_model(CONFIG, dtype=dtype)
    weights_of(model)
    tokens, pictures = make_sequence(GRIDS[2], 12)
    root = forest_of([(tokens, pictures)], see(model, pictures))
    cache = _core.Cache(model)
    prompt = cache.prefill(
        [tokens], np.array([-1]), [root.rope_positions], [(root.input_rows, see(model, pictures))]
    )
    plans = cache.sample(np.repeat(prompt, 2), np.arange(2, dtype=np.uint64), np.full(2, 5, np.int32))
    chains = cache.sample(
        np.repeat(plans["handles"], 2), np.arange(4, dtype=np.uint64), np.full(4, 70, np.int32)
    )
    plan_tokens, chain_tokens = (
        np.split(plans["tokens"], 2),
        np.split(chains["tokens"], np.cumsum(chains["lengths"])[:-1]),
    )
    behind = int(root.rope_positions.max()) + 1
    parts, parents, positions = [tokens], [-1], [root.rope_positions]
    for i in range(2):
        for parent, part, start in [(0, plan_tokens[i], behind)] + [
            (1 + 3 * i, chain_tokens[2 * i + k], behind + len(plan_tokens[i])) for k in range(2)
        ]:
            parts.append(part)
            parents.append(parent)
            positions.append(np.tile(start + np.arange(len(part), dtype=np.int32), (3, 1)))
    ends = np.cumsum([0, *map(len, parts)]).astype(np.int32)
    rows = np.concatenate(positions, axis=1).astype(np.int32)
    forest = _core.Forest(
        np.concatenate(parts), ends, np.array(parents, np.int32), rows, root.input_rows, see(model, pictures)
    )
    for i in range(2):
        for k in range(2):
            part = 2 + 3 * i + k
            before = int(ends[2 + 3 * i]) - 1
            source = np.concatenate([[before], np.arange(ends[part], ends[part + 1] - 1)]).astype(np.int32)
            logprobs, _ = model.forward(forest, source, np.ascontiguousarray(parts[part]), keep=False)
            recorded = np.split(chains["logprobs"], np.cumsum(chains["lengths"])[:-1])[2 * i + k]
            assert np.array_equal(logprobs, recorded)
            whole = np.concatenate([tokens, plan_tokens[i], parts[part]])
            flat = forest_of([(whole, pictures)], see(model, pictures))
            first = len(tokens) + len(plan_tokens[i]) - 1
            source = np.arange(first, first + len(parts[part]), dtype=np.int32)
            alone, _ = model.forward(flat, source, np.ascontiguousarray(parts[part]), keep=False)
            assert np.array_equal(alone, recorded)


def test_a_frozen_tower_has_no_gradients_and_trains_the_rest():
    model = core_model(CONFIG)
    weights_of(model)
    assert not model.tower_trained and not any(name.startswith("visual.") for name in model.gradients())
    with pytest.raises(RuntimeError, match="tower is frozen"):
        see(model, pictures_of(sequences()), keep=True)


@pytest.mark.parametrize("weights", ["bfloat16", "int8"])
def test_a_tower_beside_frozen_weights_sees_nearly_the_same(weights):
    plain = core_model(CONFIG, dtype="bfloat16")
    numbers = weights_of(plain)
    frozen = core_model(CONFIG, dtype="bfloat16", quantization=weights)
    for name, view in frozen.parameters().items():
        view[...] = numbers[name]
    for name in frozen.frozen_parameters():
        frozen.set_rows(name, 0, numbers[name])
    pictures = pictures_of(sequences())
    assert np.array_equal(see(plain, pictures), see(frozen, pictures))  # the tower is kept in bfloat16
    before = [part.copy() for part in frozen.frozen_bytes()]
    assert len(before) == 2  # fingerprints are of the tower's matrices too
    name = next(name for name in frozen.frozen_parameters() if name.startswith("visual."))
    frozen.set_rows(name, 0, 2.0 * numbers[name])
    after = frozen.frozen_bytes()
    assert np.array_equal(before[0], after[0]) and not np.array_equal(before[1], after[1])
    assert plain.frozen_bytes() == []


def test_bytes_of_seeing_are_those_that_it_takes():
    model = core_model(CONFIG)
    pictures = pictures_of(sequences())
    grids = np.array([picture.grid for picture in pictures], np.int32)
    before = model.memory()["scratch"]
    see(model, pictures)
    assert 0 <= model.memory()["scratch"] - before - model.see_bytes(grids) < 64
    assert model.see_bytes(grids[:1]) < model.see_bytes(grids) < model.see_bytes(grids, True)
    with pytest.raises(ValueError, match="whole number of squares"):
        model.see_bytes(np.array([[3, 8]], np.int32))


def test_what_does_not_fit_is_refused():
    model = core_model(CONFIG)
    pictures = make_sequence(((4, 6),), 3)[1]
    pixels = pictures[0].processor.patches(pictures[0])
    with pytest.raises(ValueError):
        model.see(pixels, np.array([[3, 8]], np.int32))  # no whole squares
    with pytest.raises(ValueError):
        model.see(pixels[:-1], np.array([[4, 6]], np.int32))
    with pytest.raises(RuntimeError, match="without a forward"):
        model.see_backward(np.zeros((0, 32), np.float32))
