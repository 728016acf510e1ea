"""Dropout of adapters: the masks against a twin, gradients by differences and against PEFT with the same masks, the
same bits whatever the threads and however activations are kept, runs that resume to the byte."""

from __future__ import annotations

import numpy as np
import pytest
from generate_helpers import make_model, philox_words
from test_lora import apart, fill
from test_models_oracle import CASES, core_model
from training_toys import QUESTIONS, SFT_ROWS, policy, short

from ptagrpo import LoraConfig, _core, lora
from ptagrpo.training import GRPOConfig, GRPOTrainer, SFTConfig, SFTTrainer

MODULES = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def mask_twin(key: int, layer: int, projection: int, rows: int, columns: int, p: float) -> np.ndarray:
    """csrc/model/dropout.h in NumPy."""
    first, second, *_ = philox_words(key, layer * 7 + projection)
    module = int(second) << 32 | int(first)
    row, column = np.arange(rows)[:, None], np.arange(columns)[None, :]
    counters = row * 16 * -(-columns // 64) + column // 64 * 16 + column % 16
    words = np.stack(philox_words(module, counters))
    word = np.take_along_axis(words, np.broadcast_to(column % 64 // 16, (1, rows, columns)), 0)[0]
    return (word >= int(p * 2**32)) / (1.0 - p)


def packed(sequences):
    """(forest, rows, targets, weights) of the mean log-likelihood."""
    inputs = [sequence[:-1] for sequence in sequences]
    offsets = np.concatenate([[0], np.cumsum([len(i) for i in inputs])]).astype(np.int32)
    forest = _core.Forest(np.concatenate(inputs), offsets, np.full(len(inputs), -1, np.int32))
    rows = np.arange(offsets[-1], dtype=np.int32)
    return (
        forest,
        rows,
        np.concatenate([s[1:] for s in sequences]),
        np.full(rows.size, 1.0 / rows.size, np.float32),
    )


def gradients_of(model, sequences, key, keep="all"):
    model.zero_grad()
    loss, logprobs, _ = _core.train_likelihood(model, *packed(sequences), keep=keep, dropout_key=key)
    return loss, logprobs, {name: g.copy() for name, g in model.gradients().items()}


def toy(dtype="float32", dropout=0.3, targets=lora.TARGETS):
    model = make_model(vocab_size=67, hidden=64, mlp=96, heads=4, kv_heads=2, dtype=dtype)
    model.add_adapter(3, 1.3, targets, dropout)
    fill(model, 2, 0.1)
    return model, [np.random.default_rng(5).integers(0, 67, n).astype(np.int32) for n in (40, 21)]


@pytest.mark.parametrize("columns", [1, 16, 63, 64, 130])
def test_masks_are_those_of_the_twin(columns):
    for key, layer, projection, p in ((0, 0, 0, 0.5), (2**63 + 9, 3, 6, 0.1), (17, 1, 4, 0.0)):
        mask = _core.dropout_mask(key, layer, projection, 9, columns, p)
        assert np.allclose(
            mask, mask_twin(key, layer, projection, 9, columns, np.float32(p)), rtol=1e-7, atol=0
        )


def test_masks_keep_as_often_as_they_should_and_differ_by_module_and_key():
    masks = [
        _core.dropout_mask(key, layer, module, 500, 896, 0.1)
        for key, layer, module in ((1, 0, 0), (1, 0, 1), (1, 1, 0), (2, 0, 0))
    ]
    for number, mask in enumerate(masks):
        kept = mask > 0
        deviation = np.sqrt(0.1 * 0.9 / mask.size)
        assert abs(kept.mean() - 0.9) < 4 * deviation and np.allclose(mask[kept], 1 / 0.9)
        assert np.abs(kept.mean(0) - 0.9).max() < 6 * np.sqrt(0.09 / 500)
        for other in masks[:number]:
            assert abs((kept == (other > 0)).mean() - (0.81 + 0.01)) < 6e-3


def test_without_a_key_or_a_probability_nothing_is_dropped():
    model, sequences = toy()
    plain, none = toy(dropout=0.0)[0], gradients_of(model, sequences, None)
    for found in (gradients_of(plain, sequences, None), gradients_of(plain, sequences, 7)):
        assert found[0] == none[0] and np.array_equal(found[1], none[1])
        assert all(np.array_equal(g, none[2][name]) for name, g in found[2].items())
    masked = gradients_of(model, sequences, 7)
    assert not np.array_equal(masked[1], none[1])
    forest, rows, targets, _ = packed(sequences)
    assert np.array_equal(
        model.forward(forest, rows, targets, keep=False)[0], none[1]
    )  # the pass before left nothing on


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_same_bits_for_any_threads_and_activations_kept(dtype):
    before = _core.get_num_threads()
    found = []
    try:
        for threads in (1, 2, 3):
            _core.set_num_threads(threads)
            found += [gradients_of(*toy(dtype), 11, keep) for keep in ("all", "inputs")]
    finally:
        _core.set_num_threads(before)
    for loss, logprobs, gradients in found[1:]:
        assert loss == found[0][0] and np.array_equal(logprobs, found[0][1])
        assert all(np.array_equal(g, found[0][2][name]) for name, g in gradients.items())


@pytest.mark.parametrize(
    "targets", [lora.TARGETS, ("k_proj", "up_proj"), ("o_proj", "down_proj")], ids=["all", "ku", "od"]
)
def test_gradients_are_those_of_the_masked_loss(targets):
    """Central differences along random directions, matrix by matrix."""
    model, sequences = toy(targets=targets)
    _, _, gradients = gradients_of(model, sequences, 5)
    forest, rows, target, weights = packed(sequences)
    generator = np.random.default_rng(3)
    worst = 0.0
    for name, matrix in model.adapter_parameters().items():
        direction = generator.standard_normal(matrix.shape).astype(np.float32)
        direction /= np.linalg.norm(direction)
        losses, start, step = [], matrix.copy(), 2e-2
        for sign in (1, -1):
            matrix[...] = start + sign * step * direction
            _, logprobs, _ = _core.train_likelihood(model, forest, rows, target, weights, dropout_key=5)
            losses.append(-float(logprobs.astype(np.float64).mean()))
        matrix[...] = start
        slope = (losses[0] - losses[1]) / (2 * step)
        worst = max(worst, abs(slope - float((gradients[name] * direction).sum())) / max(abs(slope), 1e-2))
    assert worst < 2e-2


def test_bfloat16_is_near_float32():
    truth, found = (gradients_of(*toy(dtype), 13) for dtype in ("float32", "bfloat16"))
    assert abs(truth[0] - found[0]) < 1e-2
    for name, gradient in found[2].items():
        assert np.linalg.norm(gradient - truth[2][name]) < 0.06 * np.linalg.norm(truth[2][name]), name


@pytest.mark.parametrize("case", CASES)
def test_against_peft_with_the_same_masks(case):
    """PEFT on transformers in float64, its dropout modules replaced by products with our masks: loss and gradients."""
    for module in ("torch", "transformers", "peft"):
        pytest.importorskip(module, reason=f"{module} is not installed: differences are the yardstick")
    import model_oracle
    import peft
    import torch

    from ptagrpo.models import ModelConfig

    class Masked(torch.nn.Module):
        def __init__(self, layer: int, projection: int, columns: int):
            super().__init__()
            self._mask = torch.from_numpy(mask_twin(21, layer, projection, 40, columns, np.float32(0.25)))

        def forward(self, x):
            return x * self._mask[: x.shape[-2]]

    config = model_oracle.case_config(case)
    weights = model_oracle.random_weights(ModelConfig.from_dict(config).parameter_shapes(), 11)
    sequence = model_oracle.random_tokens(config["vocab_size"], 11, (33,))[0]
    theirs = peft.get_peft_model(
        model_oracle.build(config, weights),
        peft.LoraConfig(r=3, lora_alpha=5, lora_dropout=0.25, target_modules=list(lora.TARGETS), task_type="CAUSAL_LM"),
    ).double()  # fmt: skip
    theirs.train()
    model = core_model(config, weights)
    model.add_adapter(3, 5 / 3, lora.TARGETS, 0.25)
    fill(model, 12)
    ours = model.adapter_parameters()
    with torch.no_grad():
        for name, p in theirs.named_parameters():
            if "lora_" in name:
                p.copy_(torch.from_numpy(ours[name.removeprefix(lora.PREFIX).replace(".default", "")]))
    replaced = 0
    for name, module in theirs.named_modules():
        if hasattr(module, "lora_dropout") and "default" in module.lora_dropout:
            layer = int(name.split("layers.")[1].split(".")[0])
            columns = module.lora_A["default"].in_features
            module.lora_dropout["default"] = Masked(layer, MODULES.index(name.rsplit(".", 1)[1]), columns)
            replaced += 1
    assert replaced == 7 * config["num_hidden_layers"]
    targets = torch.from_numpy(sequence[1:].astype(np.int64))
    loss = torch.nn.functional.cross_entropy(model_oracle.logits(theirs, sequence[:-1]), targets)
    loss.backward()
    mine, _, gradients = gradients_of(model, [sequence], 21)
    assert abs(mine - loss.item()) < 1e-5 * loss.item()
    for name, p in theirs.named_parameters():
        if "lora_" in name:
            assert (
                apart(gradients[name.removeprefix(lora.PREFIX).replace(".default", "")], p.grad.numpy())
                < 2e-5
            ), name


def sft(folder, model, **options):
    settings = {"max_steps": 6, "save_steps": 3, "learning_rate": 2e-2, "disable_tqdm": True, "seed": 3,
                "logging_steps": 1, "use_peft": True, "lora_r": 4, "lora_dropout": 0.2,
                "lora_target_modules": ["all-linear"]}  # fmt: skip
    return SFTTrainer(model, SFTConfig(output_dir=str(folder), **{**settings, **options}), SFT_ROWS[:16])


def test_fine_tuning_resumes_to_the_byte_and_can_do_without(tmp_path):
    policy().save(tmp_path / "base")
    whole = sft(tmp_path / "whole", str(tmp_path / "base"))
    whole.train()
    assert lora.read_config(tmp_path / "whole" / "checkpoint-6").lora_dropout == 0.2
    half = sft(tmp_path / "half", str(tmp_path / "base"))
    half.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-3"))
    names = [f"checkpoint-6/{file}" for file in (lora.WEIGHTS, "optimizer.safetensors")]
    assert all(
        (tmp_path / "half" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes() for name in names
    )
    losses = {}
    for name, options in {
        "dropout": {},
        "disabled": {"disable_dropout": True},
        "none": {"lora_dropout": 0.0},
    }.items():
        other = sft(tmp_path / name, str(tmp_path / "base"), **options)
        other.train()
        losses[name] = [row["loss"] for row in other.state.log_history if "loss" in row]
    assert losses["disabled"] == losses["none"] != losses["dropout"]


def test_reinforcement_learning_begins_with_a_ratio_of_one(tmp_path):
    """On policy the old log-probabilities are the masked model's own, and nothing is compared with what was sampled."""
    options = {"max_steps": 4, "num_generations": 8, "per_device_train_batch_size": 16, "max_completion_length": 8,
               "prompt_style": "raw", "answer_kind": "exact", "disable_tqdm": True, "beta": 0.02, "logging_steps": 1,
               "learning_rate": 3e-2, "num_iterations": 2}  # fmt: skip
    trainer = GRPOTrainer(
        policy(), [short], GRPOConfig(output_dir=str(tmp_path), **options), QUESTIONS[:8],
        peft_config=LoraConfig(r=8, lora_dropout=0.1, target_modules="all-linear"),
    )  # fmt: skip
    trainer.train()
    rows = [row for row in trainer.state.log_history if "loss" in row]
    assert all("sampling/logp_difference/max" not in row for row in rows)
    assert [row["ratio/max"] == row["ratio/min"] == 1.0 for row in rows] == [True, False, True, False]
