"""Families found by file; config.json of transformers 4 and 5 read and written; the unsupported refused."""

from __future__ import annotations

import json
import math
import re

import numpy as np
import pytest

from ptagrpo.errors import CheckpointError, ConfigError
from ptagrpo.models import ModelConfig, families, find_family, inverse_frequencies

LLAMA3 = {
    "rope_type": "llama3",
    "factor": 32.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}


def test_the_folder_is_the_registry():
    assert set(families()) == {"llama", "qwen2", "qwen2_5_vl", "qwen3", "smollm3"}
    assert find_family({"architectures": ["Qwen2ForCausalLM"]}) is families()["qwen2"]
    assert find_family({"model_type": "qwen3"}) is families()["qwen3"]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"architectures": ["MistralForCausalLM"], "model_type": "mistral"}, "'Mistral.*known: Llama"),
        ({"architectures": ["Qwen3MoeForCausalLM"]}, "not supported.*Did you mean 'Qwen3ForCausalLM'"),
        ({"model_type": "gpt2"}, "model_type 'gpt2' is not supported; known: .*qwen2"),
        ({}, "neither 'architectures' nor 'model_type'"),
        ({"architectures": ["LlamaForCausalLM"], "model_type": "qwen2"}, "contradicts itself"),
        ({"architectures": "LlamaForCausalLM"}, "expected a list"),
    ],
)  # fmt: skip
def test_unknown_architectures_are_refused_by_name(config, message):
    with pytest.raises(ConfigError, match=message):
        find_family(config)


@pytest.mark.parametrize(
    ("family", "changes", "message"),
    [
        ("llama", {"mlp_bias": True}, "biases in the MLP .mlp_bias = True"),
        ("llama", {"attention_bias": True}, "attention_bias = True"),
        ("qwen3", {"attention_bias": True}, "attention_bias = True"),
        ("llama", {"hidden_act": "gelu"}, "hidden_act = 'gelu'"),
        (
            "qwen2",
            {"use_sliding_window": True, "sliding_window": 64, "max_window_layers": 1},
            "sliding-window",
        ),
        ("qwen3", {"use_sliding_window": True, "max_window_layers": 0}, "sliding-window"),
        ("qwen2", {"layer_types": ["full_attention", "sliding_attention"]}, "layer_types"),
        ("qwen3", {"num_experts": 8}, "mixture of experts"),
        ("llama", {"quantization_config": {"bits": 4}}, "quantised"),
        (
            "llama",
            {"rope_scaling": {"rope_type": "yarn", "factor": 4.0}},
            "rope_type 'yarn'.*known: default, llama3",
        ),
        ("llama", {"rope_scaling": {"type": "dynamic", "factor": 4.0}}, "rope_type 'dynamic'"),
        (
            "llama",
            {"rope_parameters": {"rope_type": "llama3", "rope_theta": 1e4}},
            "positive number 'factor'",
        ),
        ("llama", {"partial_rotary_factor": 0.5}, "partial_rotary_factor"),
        ("llama", {"rope_parameters": {"rope_theta": 7.0}}, "rope_theta is 10000.0 but rope_parameters"),
        ("llama", {"rope_scaling": LLAMA3, "rope_parameters": {"rope_type": "default"}}, "disagree"),
        ("llama", {"num_key_value_heads": 3}, "does not divide"),
        ("llama", {"head_dim": 7}, "even"),
        ("llama", {"vocab_size": 0}, "vocab_size: expected a positive integer, got 0"),
        ("llama", {"hidden_size": 24.0}, "hidden_size"),
        ("llama", {"num_hidden_layers": True}, "num_hidden_layers"),
        ("llama", {"rms_norm_eps": -1e-6}, "rms_norm_eps"),
        ("llama", {"rms_norm_eps": math.inf}, "rms_norm_eps"),
        ("llama", {"rope_theta": 0}, "rope_theta"),
        ("llama", {"tie_word_embeddings": "yes"}, "tie_word_embeddings"),
        ("llama", {"intermediate_size": None}, "missing intermediate_size"),
    ],
)
def test_what_cannot_be_computed_is_refused(tiny_config, family, changes, message):
    with pytest.raises(ConfigError, match=message):
        ModelConfig.from_dict({**tiny_config(family), **changes})


def test_sliding_window_that_no_layer_uses_is_fine(tiny_config):
    config = {
        **tiny_config("qwen2"),
        "use_sliding_window": True,
        "sliding_window": 64,
        "max_window_layers": 2,
    }
    assert ModelConfig.from_dict(config).num_hidden_layers == 2


def test_errors_of_a_file_name_the_file(tmp_path, tiny_config):
    path = tmp_path / "config.json"
    with pytest.raises(CheckpointError, match=f"{re.escape(str(path))}: no such file"):
        ModelConfig.from_file(path)
    for text, message in (
        ("{", "JSON"),
        ("[]", "expected a JSON object"),
        ('{"model_type": "bert"}', "'bert'"),
    ):
        path.write_text(text)
        with pytest.raises(CheckpointError, match=f"{re.escape(str(path))}: .*{message}"):
            ModelConfig.from_file(path)


@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3"])
def test_head_size_and_kv_heads_have_their_defaults(tiny_config, family):
    config = tiny_config(family)
    del config["head_dim"], config["num_key_value_heads"]
    parsed = ModelConfig.from_dict(config)
    assert parsed.head_dim == (128 if family == "qwen3" else 6)
    assert parsed.num_key_value_heads == 4


@pytest.mark.parametrize("scaling", [None, LLAMA3])
@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3"])
def test_both_forms_read_alike_and_round_trip(tiny_config, family, scaling):
    old = {**tiny_config(family), "rope_theta": 5e5, "rope_scaling": scaling, "my_note": {"kept": 1}}
    new = {k: v for k, v in old.items() if k not in ("rope_theta", "rope_scaling")}
    new["rope_parameters"] = {"rope_type": "default", **(scaling or {}), "rope_theta": 5e5}
    legacy = {**old, "rope_scaling": None if scaling is None else {**scaling, "type": scaling["rope_type"]}}
    parsed = ModelConfig.from_dict(old)
    for other in (new, legacy):
        assert ModelConfig.from_dict(other) == parsed
    written = json.loads(json.dumps(parsed.to_dict()))
    again = ModelConfig.from_dict(written)
    assert again.to_dict() == written
    assert written["my_note"] == {"kept": 1}
    assert written["rope_theta"] == written["rope_parameters"]["rope_theta"] == 5e5
    assert again.core_config()["inv_freq"].tolist() == parsed.core_config()["inv_freq"].tolist()


def test_real_configs(shared_data):
    folder = shared_data / "checkpoints"
    qwen2 = ModelConfig.from_file(folder / "qwen2.5" / "config.json")
    assert (qwen2.head_dim, qwen2.num_parameters, qwen2.family.attention_bias) == (128, 7_615_616_512, True)
    qwen3 = ModelConfig.from_file(folder / "qwen3" / "config.json")
    assert (qwen3.head_dim, qwen3.num_parameters, qwen3.family.qk_norm) == (128, 4_022_468_096, True)
    llama = ModelConfig.from_file(folder / "llama3.2" / "config.json")
    assert (llama.num_parameters, llama.eos_token_ids()) == (3_212_749_824, [128001, 128008, 128009])
    assert llama.rope_scaling == LLAMA3
    vl = ModelConfig.from_file(folder / "qwen2.5-vl" / "config.json")
    assert (vl.num_parameters, vl.vision.depth, vl.vision.fullatt_block_indexes) == (3_754_622_976, 32, (7, 15, 23, 31))


def test_layers_without_rotary_embedding():
    base = {"model_type": "smollm3", "vocab_size": 9, "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 5,
            "num_attention_heads": 2, "tie_word_embeddings": True}  # fmt: skip
    assert ModelConfig.from_dict(base).unrotated_layers == (3,)
    listed = ModelConfig.from_dict({**base, "no_rope_layers": [0, 1, 1, 1, 0]})
    assert listed.unrotated_layers == (0, 4) and listed.core_config()["unrotated_layers"] == [0, 4]
    assert ModelConfig.from_dict(listed.to_dict()).unrotated_layers == (0, 4)
    with pytest.raises(ConfigError, match="no_rope_layers: expected 5 entries"):
        ModelConfig.from_dict({**base, "no_rope_layers": [1, 0]})


def test_rotary_frequencies():
    plain = inverse_frequencies(64, 5e5)
    assert plain.dtype == np.float64 and plain.shape == (32,)
    assert plain[0] == 1.0 and plain[-1] == pytest.approx(5e5 ** (-62 / 64), rel=1e-14)
    scaled = inverse_frequencies(64, 5e5, LLAMA3)
    wavelength = 2 * np.pi / plain
    short, long = wavelength < 8192 / 4, wavelength > 8192
    assert short.any() and long.any() and (~short & ~long).any()
    np.testing.assert_allclose(scaled[short], plain[short], rtol=1e-15)
    np.testing.assert_allclose(scaled[long], plain[long] / 32, rtol=1e-15)
    between = ~short & ~long
    assert ((scaled[between] < plain[between]) & (scaled[between] > plain[between] / 32)).all()
    for bad in (
        dict(head_dim=5, theta=1e4),
        dict(head_dim=0, theta=1e4),
        dict(head_dim=4, theta=-1.0),
        dict(head_dim=4, theta=math.nan),
        dict(head_dim=4, theta=1e4, scaling={**LLAMA3, "high_freq_factor": 1.0}),
        dict(head_dim=4, theta=1e4, scaling={"rope_type": "lama3"}),
    ):
        with pytest.raises(ConfigError):
            inverse_frequencies(**bad)


def test_rotary_frequencies_are_those_of_transformers():
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    pytest.importorskip("torch", reason="torch is not installed")
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    config = transformers.LlamaConfig(
        hidden_size=512,
        num_attention_heads=8,
        rope_theta=5e5,
        rope_scaling=dict(LLAMA3),
        max_position_embeddings=131072,
    )
    theirs, factor = ROPE_INIT_FUNCTIONS["llama3"](config, "cpu")
    assert factor == 1.0
    np.testing.assert_allclose(inverse_frequencies(64, 5e5, LLAMA3), theirs.numpy(), rtol=1e-6)
