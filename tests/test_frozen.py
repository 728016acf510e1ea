"""Weights frozen as bfloat16, int8 and int4: products equal to the bit those with the dequantised weights, loading in
place, adapters on top, and what the quantisation costs a real model."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from generate_helpers import make_model, roots, sample
from training_toys import SFT_ROWS, policy

import ptagrpo
from ptagrpo import LoraConfig, _core, lora
from ptagrpo.checkpoint import reading
from ptagrpo.errors import CheckpointError, ConfigError
from ptagrpo.training import SFTConfig, SFTTrainer

KINDS = ["bfloat16", "int8", "int4"]
SHAPES = {
    "tied, bias": {"tied": True, "bias": True},
    "odd sizes": {"tied": False, "hidden": 72, "mlp": 101, "head_dim": 40, "qk_norm": True},
    "groups and a rest": {
        "tied": False,
        "hidden": 130,
        "mlp": 200,
        "heads": 7,
        "kv_heads": 1,
        "head_dim": 18,
    },
}


def freeze(model, kind: str):
    frozen = _core.Model({**model.config, "weights": kind})
    weights = model.parameters()
    for name, view in frozen.parameters().items():
        view[...] = weights[name]
    for name, (rows, _) in frozen.frozen_parameters().items():
        cut = rows // 3
        for first, last in ((0, cut), (cut, rows)):  # panels are cut anywhere
            frozen.set_rows(name, first, np.ascontiguousarray(weights[name][first:last]))
    return frozen


def dequantised(model, frozen):
    """An ordinary model that holds what the frozen one multiplies with."""
    twin, shapes = _core.Model({**model.config, "weights": "trained"}), frozen.frozen_parameters()
    for name, view in twin.parameters().items():
        view[...] = frozen.get_rows(name, 0, shapes[name][0]) if name in shapes else model.parameters()[name]
    return twin


def train(model, tokens, threads=0):
    """Logits, log-probabilities and the adapter's gradients."""
    count = len(tokens) - 1
    forest = _core.Forest(tokens[:-1], np.array([0, count], np.int32), np.array([-1], np.int32))
    rows = np.arange(count, dtype=np.int32)
    logits = model.logits(forest, rows)
    model.zero_grad()
    weights = np.full(count, 1 / count, np.float32)
    _, logprobs, _ = _core.train_likelihood(model, forest, rows, tokens[1:], weights, keep="inputs")
    return [logits, logprobs, *(g.copy() for g in model.gradients().values())]


def adapt(model, seed=2):
    model.add_adapter(3, 0.5, lora.TARGETS)
    generator = np.random.default_rng(seed)
    for matrix in model.adapter_parameters().values():
        matrix[...] = 0.3 * generator.standard_normal(matrix.shape)


@pytest.fixture
def kernels():
    yield
    _core.kernels_use(None)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", SHAPES)
def test_everything_is_to_the_bit_what_the_dequantised_weights_give(shape, kind, dtype, kernels):
    tokens = np.random.default_rng(0).integers(0, 67, 60).astype(np.int32)
    for variant in [v for v in _core.kernels_variants() if v != "openblas"]:
        _core.kernels_use(variant)
        model = make_model(vocab_size=67, dtype=dtype, **SHAPES[shape])
        frozen = freeze(model, kind)
        twin = dequantised(model, frozen)
        for one in (frozen, twin):
            adapt(one)
        for ours, truth in zip(train(frozen, tokens), train(twin, tokens), strict=True):
            assert np.array_equal(ours, truth), variant


@pytest.mark.parametrize("kind", KINDS)
def test_bits_do_not_depend_on_threads_and_sampling_is_training(kind):
    model = freeze(make_model(vocab_size=67, spread=1.5, dtype="bfloat16"), kind)
    adapt(model)
    tokens = np.random.default_rng(1).integers(0, 67, 90).astype(np.int32)
    before, seen = _core.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            _core.set_num_threads(threads)
            cache = _core.Cache(model)
            handles = cache.prefill([tokens], roots(1))
            drawn = sample(cache, np.repeat(handles, 2), np.arange(2), [30, 5], temperature=1.0)
            whole = np.concatenate([tokens, drawn["tokens"][0]]).astype(np.int32)
            results = train(model, whole)
            assert np.array_equal(results[1][len(tokens) - 1 :], drawn["logprobs"][0])
            seen.append(results)
            del cache
    finally:
        _core.set_num_threads(before)
    for other in seen[1:]:
        assert all(np.array_equal(a, b) for a, b in zip(seen[0], other, strict=True))


def test_the_error_of_each_form():
    """Relative root mean square error on normal weights."""
    model = make_model(vocab_size=67, hidden=256, mlp=512, tied=False)
    errors = {}
    for kind in KINDS:
        frozen, squares, total = freeze(model, kind), 0.0, 0.0
        for name, (rows, _) in frozen.frozen_parameters().items():
            if "layers" in name:
                truth = model.parameters()[name].astype(np.float64)
                squares += np.square(frozen.get_rows(name, 0, rows) - truth).sum()
                total += np.square(truth).sum()
        errors[kind] = float(np.sqrt(squares / total))
    print(errors)
    assert errors["bfloat16"] < 0.0018 and errors["int8"] < 0.0065 and errors["int4"] < 0.092
    values = np.array([[0.0] * 64, [1.0] + [0.0] * 63, [-3.0] * 64], np.float32)
    tiny = _core.Model({**make_model(vocab_size=67, hidden=64).config, "weights": "int4"})
    tiny.set_rows("model.layers.0.self_attn.q_proj.weight", 1, values)
    back = tiny.get_rows("model.layers.0.self_attn.q_proj.weight", 1, 3)
    assert np.array_equal(back[0], values[0]) and np.allclose(back, values, rtol=4e-3)


def test_rows_that_do_not_fit_are_refused():
    model = _core.Model({**make_model(vocab_size=67).config, "weights": "int8"})
    name = "model.layers.0.mlp.up_proj.weight"
    with pytest.raises(KeyError, match="no frozen matrix"):
        model.set_rows("model.norm.weight", 0, np.zeros((1, 24), np.float32))
    with pytest.raises(ValueError, match=r"rows 39 to 41 are not in its 40"):
        model.set_rows(name, 39, np.zeros((2, 24), np.float32))
    with pytest.raises(ValueError, match=r"float32 C-contiguous \(n, 24\)"):
        model.set_rows(name, 0, np.zeros((2, 23), np.float32))
    bad = np.zeros((2, 24), np.float32)
    bad[1, 5] = np.inf
    with pytest.raises(FloatingPointError, match="inf at row 4, column 5"):
        model.set_rows(name, 3, bad)
    with pytest.raises(ValueError, match="config.'weights'.: expected"):
        _core.Model({**model.config, "weights": "int2"})
    tokens = np.zeros(3, np.int32)
    forest = _core.Forest(tokens, np.array([0, 3], np.int32), np.array([-1], np.int32))
    with pytest.raises(RuntimeError, match="give the model an adapter"):
        _core.train_likelihood(model, forest, tokens[:1], tokens[:1], np.ones(1, np.float32))


@pytest.mark.parametrize("kind", KINDS)
def test_a_folder_is_read_block_by_block_into_its_final_form(kind, tmp_path, monkeypatch):
    one = policy(hidden_size=64, intermediate_size=160, num_hidden_layers=4, num_attention_heads=4)
    one.save(tmp_path, dtype="bfloat16", max_shard_size=60_000)
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 3
    monkeypatch.setattr(reading, "BLOCK_ELEMENTS", 2048)
    tracemalloc.start()
    loaded = ptagrpo.load(tmp_path, quantization=kind)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert loaded.quantization == kind and loaded.config.num_parameters > 140_000
    assert peak < 1_500_000  # tokenizer and headers; the weights alone are 600 kB and are not among it twice
    whole = ptagrpo.load(tmp_path)
    shapes = loaded.model.frozen_parameters()
    for name, (rows, _) in shapes.items():
        truth = whole.model.parameters()[name]
        error = np.abs(loaded.model.get_rows(name, 0, rows) - truth).max() / np.abs(truth).max()
        assert error <= {"bfloat16": 0.0, "int8": 0.005, "int4": 0.25}[kind], name
    assert (
        loaded.model.memory()["weights"]
        < whole.model.memory()["weights"] * {"bfloat16": 0.7, "int8": 0.5, "int4": 0.4}[kind]
    )


def test_an_adapter_on_int4_is_trained_and_saved(tmp_path):
    policy(hidden_size=64, num_attention_heads=4).save(tmp_path / "base")
    options = {
        "max_steps": 8,
        "learning_rate": 2e-2,
        "disable_tqdm": True,
        "logging_steps": 1,
        "save_strategy": "no",
    }
    args = SFTConfig(output_dir=str(tmp_path / "run"), load_in_4bit=True, use_peft=True, lora_r=4,
                     lora_target_modules=["all-linear"], **options)  # fmt: skip
    trainer = SFTTrainer(str(tmp_path / "base"), args, SFT_ROWS[:16])
    assert trainer.policy.quantization == "int4"
    [before] = [frozen.copy() for frozen in trainer.policy.model.frozen_bytes()]
    trainer.train()
    losses = [row["loss"] for row in trainer.state.log_history if "loss" in row]
    assert losses[-1] < 0.8 * losses[0]
    assert np.array_equal(before, trainer.policy.model.frozen_bytes()[0])
    trainer.save_model(tmp_path / "adapter")
    back = ptagrpo.load(tmp_path / "adapter", quantization="int4")
    ids = [[5, 6, 7, 8]]
    assert np.array_equal(back.logprobs(ids)[0], trainer.policy.logprobs(ids)[0])
    assert back.generate(["what is 1 + 1 ?"], max_new_tokens=4)[0][0].text is not None
    with pytest.raises(ConfigError, match="load it without quantization"):
        back.merge_adapter()
    with pytest.raises(ConfigError, match="load them a second time"):
        back.clone()
    merged = ptagrpo.load(tmp_path / "adapter")
    merged.merge_adapter()


def test_what_frozen_weights_cannot_do(tmp_path):
    policy(hidden_size=64, num_attention_heads=4).save(tmp_path / "base")
    frozen = ptagrpo.load(tmp_path / "base", quantization="int8")
    with pytest.raises(ConfigError, match="nothing to save"):
        frozen.save(tmp_path / "out")
    args = SFTConfig(output_dir=str(tmp_path / "run"), disable_tqdm=True)
    with pytest.raises(ConfigError, match="pass peft_config"):
        SFTTrainer(frozen, args, SFT_ROWS[:4])
    with pytest.raises(ConfigError, match="contradict"):
        SFTTrainer(str(tmp_path / "base"), args.replace(load_in_4bit=True, load_in_8bit=True), SFT_ROWS[:4])
    with pytest.raises(ConfigError, match="expected 'int8', 'int4'"):
        ptagrpo.load(tmp_path / "base", quantization="int3")
    broken = policy(hidden_size=64, num_attention_heads=4)
    broken.model.parameters()["model.layers.0.mlp.up_proj.weight"][3, 2] = np.nan
    broken.save(tmp_path / "broken")
    with pytest.raises(
        CheckpointError, match=r"up_proj.weight is nan at row 3, column 2; it cannot be quantised"
    ):
        ptagrpo.load(tmp_path / "broken", quantization="int8")


def test_random_frozen_models_are_made_in_place():
    for kind in KINDS:
        made = policy(hidden_size=64, num_attention_heads=4)
        frozen = ptagrpo.Policy.from_config(made.config, made.tokenizer, seed=0, quantization=kind)
        name = "model.layers.0.mlp.down_proj.weight"
        truth = made.model.parameters()[name]
        assert np.abs(frozen.model.get_rows(name, 0, len(truth)) - truth).max() < 0.2 * np.abs(truth).max()
    frozen.add_adapter(LoraConfig(r=2))
    assert frozen.num_parameters == 2 * (64 + 4 * 8 + 64 + 8)


@pytest.fixture(scope="module")
def story(shared_data, tmp_path_factory):
    """A trained model's folder and its published story."""
    from ptagrpo import llama2c

    source = shared_data / "checkpoints" / "stories260K"
    folder = llama2c.convert(
        source / "stories260K.bin", source / "tok512.bin", tmp_path_factory.mktemp("stories") / "model"
    )
    return folder, (source / "stories260K.md").read_text().split("-t 0.0\n")[1].split("\n```")[0]


def test_what_quantisation_costs_a_trained_model(story):
    """Perplexity of stories260K on its own story. It is 64 wide: the worst case, large models are redundant."""
    folder, text = story
    perplexity = {}
    for kind in (None, *KINDS):
        model = ptagrpo.load(folder, quantization=kind)
        ids = model.tokenizer.encode_prompt(text)
        perplexity[kind] = float(np.exp(-model.logprobs([ids])[0].astype(np.float64).mean()))
    print({str(kind): round(value, 4) for kind, value in perplexity.items()})
    base = perplexity[None]
    assert abs(perplexity["bfloat16"] / base - 1) < 0.005
    assert abs(perplexity["int8"] / base - 1) < 0.01
    assert perplexity["int4"] / base - 1 < 0.15
