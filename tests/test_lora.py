"""Adapters: gradients by the chain rule and against PEFT in float64, the same bits in sampling and training, files that
PEFT reads and writes, runs that train them."""

from __future__ import annotations

import json

import numpy as np
import pytest
from generate_helpers import make_model, roots, sample
from test_models_oracle import CASES, core_model, load_fixture
from training_toys import QUESTIONS, SFT_ROWS, policy, short

import ptagrpo
from ptagrpo import LoraConfig, _core, lora
from ptagrpo.errors import CheckpointError, ConfigError, ResumeError
from ptagrpo.training import GRPOConfig, GRPOTrainer, SFTConfig, SFTTrainer

SUBSETS = (lora.TARGETS, ("q_proj", "v_proj"), ("k_proj", "o_proj", "up_proj"), ("down_proj", "gate_proj"))


def fill(model, seed: int, size: float = 0.3) -> None:
    """Random A and B, so that every part of the adapter matters."""
    generator = np.random.default_rng(seed)
    for matrix in model.adapter_parameters().values():
        matrix[...] = size * generator.standard_normal(matrix.shape)


def apart(ours, truth) -> float:
    return float(np.abs(np.asarray(ours, np.float64) - truth).max() / max(np.abs(truth).max(), 1e-30))


def gradients_of(model, sequences):
    """(log-probabilities, gradients) of the mean log-likelihood of packed sequences."""
    inputs = [sequence[:-1] for sequence in sequences]
    offsets = np.concatenate([[0], np.cumsum([len(i) for i in inputs])]).astype(np.int32)
    forest = _core.Forest(np.concatenate(inputs), offsets, np.full(len(inputs), -1, np.int32))
    rows, target = np.arange(offsets[-1], dtype=np.int32), np.concatenate([s[1:] for s in sequences])
    model.zero_grad()
    weights = np.full(rows.size, 1.0 / rows.size, np.float32)
    _, logprobs, _ = _core.train_likelihood(model, forest, rows, target, weights)
    return logprobs, {name: g.copy() for name, g in model.gradients().items()}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("targets", SUBSETS, ids=["all", "qv", "kou", "gd"])
def test_gradients_follow_from_those_of_the_merged_weights(case, targets, fixtures_dir):
    """W' = W + s B A:  dA = s B' dW'  and  dB = s dW' A', in float64 from the merged model's own gradients."""
    config, weights, sequences, _ = load_fixture(fixtures_dir / f"model_{case}.npz")
    adapted, merged = core_model(config, weights), core_model(config, weights)
    adapted.add_adapter(3, 0.7, targets)
    fill(adapted, 1)
    low = {name: m.astype(np.float64) for name, m in adapted.adapter_parameters().items()}
    for name, a in low.items():
        if ".lora_A." in name:
            b, base = low[name.replace("lora_A", "lora_B")], name.replace(".lora_A.weight", ".weight")
            merged.parameters()[base][...] += (0.7 * (b @ a)).astype(np.float32)
    before = {name: w.copy() for name, w in adapted.parameters().items()}
    ours, gradients = gradients_of(adapted, sequences)
    truth, full = gradients_of(merged, sequences)
    assert apart(ours, truth) < 2e-6
    assert list(gradients) == list(low) and adapted.num_parameters == sum(m.size for m in low.values())
    for name, gradient in gradients.items():
        base = full[name.replace(".lora_A", "").replace(".lora_B", "")].astype(np.float64)
        other = low[name.replace("lora_A", "lora_C").replace("lora_B", "lora_A").replace("lora_C", "lora_B")]
        expected = 0.7 * (other.T @ base if ".lora_A." in name else base @ other.T)
        assert apart(gradient, expected) < 3e-5, name
    assert all(np.array_equal(w, before[name]) for name, w in adapted.parameters().items())


@pytest.mark.parametrize("keep", ["all", "inputs"])
def test_bfloat16_gradients_are_near_those_of_float32(keep):
    truth = None
    for dtype in ("float32", "bfloat16"):
        model = make_model(vocab_size=67, hidden=64, mlp=96, heads=4, kv_heads=2, dtype=dtype)
        model.add_adapter(4, 1.5, lora.TARGETS)
        fill(model, 2, 0.1)
        sequences = [np.random.default_rng(5).integers(0, 67, 90).astype(np.int32)]
        forest = _core.Forest(sequences[0][:-1], np.array([0, 89], np.int32), np.array([-1], np.int32))
        rows = np.arange(89, dtype=np.int32)
        _core.train_likelihood(
            model, forest, rows, sequences[0][1:], np.full(89, 1 / 89, np.float32), keep=keep
        )
        gradients = {name: g.copy() for name, g in model.gradients().items()}
        truth = truth or gradients
        worst = max(np.linalg.norm(g - truth[n]) / np.linalg.norm(truth[n]) for n, g in gradients.items())
        assert worst < 0.05


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_sampled_is_trained_to_the_bit_and_without_the_adapter_it_is_the_base(dtype):
    kinds = {"vocab_size": 67, "bias": True, "heads": 6, "kv_heads": 2, "spread": 1.5, "dtype": dtype}
    base, model = make_model(**kinds), make_model(**kinds)
    model.add_adapter(5, 2.0, lora.TARGETS)
    fill(model, 3)
    prompt = np.random.default_rng(1).integers(0, 67, 70).astype(np.int32)
    before = _core.get_num_threads()
    seen = []
    try:
        for threads in (1, 2, 3):
            _core.set_num_threads(threads)
            cache = _core.Cache(model)
            handles = cache.prefill([prompt], roots(1))
            drawn = sample(cache, np.repeat(handles, 3), np.arange(3), [40, 3, 70], temperature=1.0)
            del cache
            for chain, tokens in enumerate(drawn["tokens"]):
                whole = np.concatenate([prompt, tokens]).astype(np.int32)
                forest = _core.Forest(whole, np.array([0, whole.size], np.int32), np.array([-1], np.int32))
                source = np.arange(prompt.size - 1, whole.size - 1, dtype=np.int32)
                trained, _ = model.forward(forest, source, whole[source + 1], keep=False)
                assert np.array_equal(trained, drawn["logprobs"][chain])
                model.adapter_enabled = False
                plain, _ = model.forward(forest, source, whole[source + 1], keep=False)
                model.adapter_enabled = True
                own, _ = base.forward(forest, source, whole[source + 1], keep=False)
                assert np.array_equal(plain, own) and not np.array_equal(plain, trained)
                seen.append(trained)
    finally:
        _core.set_num_threads(before)
    assert all(np.array_equal(a, b) for a, b in zip(seen[:3], seen[3:6], strict=True))


def test_a_new_adapter_changes_nothing_and_can_be_taken_off():
    one = policy()
    ids = [list(range(3, 20))]
    base = one.logprobs(ids)[0]
    one.add_adapter(LoraConfig(r=4, target_modules="all-linear"))
    assert np.array_equal(one.logprobs(ids)[0], base)
    fill(one.model, 1)
    changed = one.logprobs(ids)[0]
    assert not np.array_equal(changed, base)
    with one.disable_adapter():
        assert np.array_equal(one.logprobs(ids)[0], base)
    assert np.array_equal(one.logprobs(ids)[0], changed)
    copy = one.clone()
    assert np.array_equal(copy.logprobs(ids)[0], changed) and copy.lora_config == one.lora_config
    one.merge_adapter()
    assert one.lora_config is None and one.model.adapter is None
    assert np.abs(one.logprobs(ids)[0] - changed).max() < 2e-5
    with pytest.raises(ConfigError, match="has no adapter"):
        one.merge_adapter()


def test_files_come_back_as_they_were(tmp_path):
    policy().save(tmp_path / "base")
    one = ptagrpo.load(tmp_path / "base")
    one.add_adapter(LoraConfig(r=4, lora_alpha=6, use_rslora=True, target_modules=["o_proj", "down_proj"]))
    fill(one.model, 4)
    one.save(tmp_path / "adapter")
    assert not (tmp_path / "adapter" / "model.safetensors").exists()
    assert json.loads((tmp_path / "adapter" / lora.CONFIG).read_text())["base_model_name_or_path"] == str(
        tmp_path / "base"
    )
    two = ptagrpo.load(tmp_path / "adapter")
    assert two.model.adapter == {"rank": 4, "scale": 3.0, "targets": ["o_proj", "down_proj"], "dropout": 0.0}
    ids = [[5, 6, 7, 8, 9]]
    assert np.array_equal(one.logprobs(ids)[0], two.logprobs(ids)[0])
    two.merge_adapter()
    two.save(tmp_path / "merged")
    assert np.abs(ptagrpo.load(tmp_path / "merged").logprobs(ids)[0] - one.logprobs(ids)[0]).max() < 2e-5


def test_an_adapter_for_another_model_is_refused_by_tensor(tmp_path):
    one = policy()
    one.add_adapter(LoraConfig(r=4))
    one.save(tmp_path)
    other = policy(hidden_size=32)
    before = other.logprobs([[4, 5, 6]])[0]
    with pytest.raises(
        CheckpointError, match=r"q_proj\.lora_A\.weight' has shape \(4, \d+\), must be \(4, 32\)"
    ):
        other.load_adapter(tmp_path)
    assert other.lora_config is None and np.array_equal(other.logprobs([[4, 5, 6]])[0], before)
    values = json.loads((tmp_path / lora.CONFIG).read_text())
    for change, message in (({"use_dora": True}, "use_dora = True is not supported"),
                            ({"peft_type": "IA3"}, "not the configuration"),
                            ({"target_modules": ["lm_head"]}, "'lm_head' is none of")):  # fmt: skip
        (tmp_path / lora.CONFIG).write_text(json.dumps({**values, **change}))
        with pytest.raises(CheckpointError, match=message):
            policy().load_adapter(tmp_path)
    (tmp_path / lora.CONFIG).write_text(json.dumps(values))
    (tmp_path / lora.WEIGHTS).write_bytes((tmp_path / lora.WEIGHTS).read_bytes()[:50])
    with pytest.raises(CheckpointError, match="cannot be read"):
        policy().load_adapter(tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"r": 0}, "r: expected a positive integer"), ({"lora_dropout": 1.0}, "below 1"),
     ({"target_modules": ["q_prj"]}, "Did you mean 'q_proj'"), ({"target_modules": []}, "at least one module"),
     ({"target_modules": "q_prj"}, "Did you mean 'q_proj'"), ({"target_modules": "("}, "no regular expression"),
     ({"lora_alpha": float("nan")}, "lora_alpha")],
)  # fmt: skip
def test_configurations_that_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        LoraConfig(**options)
    with pytest.raises(ConfigError, match=message):
        LoraConfig.of(options)


@pytest.mark.parametrize(
    ("pattern", "found"),
    [("q_proj", ["q_proj"]), (r".*\.(up|down)_proj", ["up_proj", "down_proj"]),
     (r"model\.language_model\.layers\.\d+\.self_attn\..*", ["q_proj", "k_proj", "v_proj", "o_proj"])],
)  # fmt: skip
def test_targets_by_a_regular_expression(pattern, found):
    assert LoraConfig(target_modules=pattern).target_modules == found


def sft(folder, model, **options):
    settings = {
        "max_steps": 6,
        "save_steps": 3,
        "learning_rate": 2e-2,
        "disable_tqdm": True,
        "seed": 3,
        "logging_steps": 1,
    }
    args = SFTConfig(output_dir=str(folder), **{**settings, **options})
    return SFTTrainer(
        model, args, SFT_ROWS[:16], peft_config=LoraConfig(r=4, lora_alpha=8, target_modules="all-linear")
    )


def test_fine_tuning_trains_the_adapter_alone_and_resumes_to_the_byte(tmp_path):
    base = policy()
    base.save(tmp_path / "base")
    before = {name: w.copy() for name, w in base.model.parameters().items()}
    whole = sft(tmp_path / "whole", str(tmp_path / "base"))
    whole.train()
    losses = [row["loss"] for row in whole.state.log_history if "loss" in row]
    after = whole.policy.model.parameters()
    assert all(np.array_equal(w, before[name]) for name, w in after.items())
    assert sum(
        np.abs(m).max() > 0 for n, m in whole.policy.model.adapter_parameters().items() if "lora_B" in n
    )
    half = sft(tmp_path / "half", str(tmp_path / "base"))
    half.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-3"))
    for file in (lora.WEIGHTS, "optimizer.safetensors"):
        assert (tmp_path / "half/checkpoint-6" / file).read_bytes() == (
            tmp_path / "whole/checkpoint-6" / file
        ).read_bytes()
    assert losses[-1] < 0.8 * losses[0]
    loaded = ptagrpo.load(tmp_path / "whole" / "checkpoint-6")
    assert np.array_equal(loaded.logprobs([[5, 6, 7]])[0], whole.policy.logprobs([[5, 6, 7]])[0])
    changed = ptagrpo.load(tmp_path / "base")
    changed.model.parameters()["model.norm.weight"][...] *= 1.5
    with pytest.raises(ResumeError, match="base_weights"):
        sft(tmp_path / "other", changed).train(
            resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-3")
        )


def test_reinforcement_learning_with_the_base_as_reference(tmp_path):
    """The KL to the initial policy is zero in the first step, since B is zero, and grows; without a second copy."""
    options = {"max_steps": 8, "num_generations": 8, "per_device_train_batch_size": 16, "max_completion_length": 8,
               "prompt_style": "raw", "answer_kind": "exact", "disable_tqdm": True, "beta": 0.02, "logging_steps": 1,
               "learning_rate": 3e-2, "use_peft": True, "lora_r": 8, "lora_target_modules": ["all-linear"]}  # fmt: skip
    trainer = GRPOTrainer(policy(), [short], GRPOConfig(output_dir=str(tmp_path), **options), QUESTIONS[:8])
    base = {name: w.copy() for name, w in trainer.policy.model.parameters().items()}
    assert trainer._reference is trainer.policy
    trainer.train()
    rows = [row for row in trainer.state.log_history if "kl" in row]
    assert rows[0]["kl"] == 0.0 and rows[-1]["kl"] > 0.0
    assert np.mean([row["reward"] for row in rows[-3:]]) > np.mean([row["reward"] for row in rows[:3]])
    assert all(
        row["sampling/logp_difference/max"] == 0.0 for row in rows if "sampling/logp_difference/max" in row
    )
    assert all(np.array_equal(w, base[name]) for name, w in trainer.policy.model.parameters().items())


def test_the_optimizer_belongs_to_what_is_trained():
    model = make_model(vocab_size=67)
    optimizer = _core.AdamW(model, 0.9, 0.999, 1e-8)
    model.add_adapter(2, 1.0, ["q_proj"])
    with pytest.raises(RuntimeError, match="make it after the adapter"):
        optimizer.step(1e-3, 0.0, 0.0)
    with pytest.raises(RuntimeError, match="has an adapter"):
        model.add_adapter(2, 1.0, ["q_proj"])
    view = model.adapter_parameters()
    with pytest.raises(RuntimeError, match="still in use"):
        model.remove_adapter()
    del view
    model.remove_adapter()
    assert model.adapter is None and not model.adapter_enabled
    for bad, message in (((0, 1.0, ["q_proj"]), "rank is 0"), ((2, float("inf"), ["q_proj"]), "finite"),
                         ((2, 1.0, ["x"]), "targets"), ((2, 1.0, []), "no projection"),
                         ((2, 1.0, ["q_proj"], -0.1), "dropout is -0.1")):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            model.add_adapter(*bad)


@pytest.mark.parametrize("case", CASES)
def test_gradients_and_logits_against_peft(case, tmp_path):
    """PEFT on transformers in float64: logits, loss and every gradient of A and B; then PEFT's folder read here, and
    ours read by PEFT."""
    for module in ("torch", "transformers", "peft"):
        pytest.importorskip(module, reason=f"{module} is not installed: the chain rule is the yardstick")
    import model_oracle
    import peft
    import torch

    config = model_oracle.case_config(case)
    from ptagrpo.models import ModelConfig

    family = ModelConfig.from_dict(config).family
    weights = model_oracle.random_weights(ModelConfig.from_dict(config).parameter_shapes(), 11)
    sequences = model_oracle.random_tokens(config["vocab_size"], 11, (9, 33))
    rslora = "qwen3" in case
    theirs = peft.get_peft_model(
        model_oracle.build(config, weights),
        peft.LoraConfig(
            r=3, lora_alpha=5, use_rslora=rslora, target_modules=list(lora.TARGETS), task_type="CAUSAL_LM"
        ),
    ).double()
    theirs.eval()
    generator = np.random.default_rng(12)
    with torch.no_grad():
        for name, p in theirs.named_parameters():
            if "lora_" in name:
                p.copy_(torch.from_numpy(0.3 * generator.standard_normal(tuple(p.shape))))
    theirs.save_pretrained(tmp_path / "peft")
    loss, logits = 0.0, []
    for sequence in sequences:
        out = model_oracle.logits(theirs, sequence[:-1])
        logits.append(out.detach().numpy())
        targets = torch.from_numpy(sequence[1:].astype(np.int64))
        loss = loss + torch.nn.functional.cross_entropy(out, targets, reduction="sum")
    count = sum(len(s) - 1 for s in sequences)
    (loss / count).backward()
    model = core_model(config, weights)
    ours = lora.read_config(tmp_path / "peft")
    model.add_adapter(ours.r, ours.scale, ours.target_modules)
    lora.read_weights(tmp_path / "peft", model, family)
    logprobs, gradients = gradients_of(model, sequences)
    assert abs(-float(logprobs.astype(np.float64).mean()) - loss.item() / count) < 1e-5 * loss.item() / count
    for sequence, truth in zip(sequences, logits, strict=True):
        forest = _core.Forest(
            sequence[:-1], np.array([0, len(sequence) - 1], np.int32), np.array([-1], np.int32)
        )
        assert apart(model.logits(forest, np.arange(len(sequence) - 1, dtype=np.int32)), truth) < 1e-5
    for name, p in theirs.named_parameters():
        if "lora_" in name:
            mine = gradients[name.removeprefix(lora.PREFIX).replace(".default", "")]
            assert apart(mine, p.grad.numpy()) < 2e-5, name  # one product more in the chain than a weight has
    (tmp_path / "ours").mkdir()
    lora.write_adapter(tmp_path / "ours", model, ours, family)
    back = (
        peft.PeftModel.from_pretrained(model_oracle.build(config, weights), tmp_path / "ours").double().eval()
    )
    assert apart(model_oracle.logits(back, sequences[0][:-1]).detach().numpy(), logits[0]) < 1e-6
