"""The models that are timed: their shapes, and random weights in a folder that every engine loads.

Weights are rounded to bfloat16, so that an engine in float32 and one in bfloat16 start from the same numbers.
"""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from safetensors.numpy import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from ptagrpo.models import ModelConfig
from ptagrpo.token_bytes import byte_level_alphabet

QWEN2 = {"model_type": "qwen2", "rms_norm_eps": 1e-6, "tie_word_embeddings": True, "initializer_range": 0.02}


def _qwen2(vocab: int, hidden: int, ffn: int, layers: int, heads: int, kv_heads: int, **changes: Any) -> dict:
    return {
        **QWEN2,
        "architectures": ["Qwen2ForCausalLM"],
        "vocab_size": vocab,
        "hidden_size": hidden,
        "intermediate_size": ffn,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "head_dim": hidden // heads,
        "rope_theta": 1e6,
        "max_position_embeddings": 4096,
        "eos_token_id": vocab - 1,
        **changes,
    }


SHAPES: dict[str, dict[str, Any]] = {
    "qwen2.5-0.5b": _qwen2(151936, 896, 4864, 24, 14, 2),
    "4x128": _qwen2(512, 128, 384, 4, 4, 2),
    "2x64": _qwen2(512, 64, 192, 2, 4, 2),
    "tiny": _qwen2(320, 32, 48, 2, 4, 2),
}


def _full(
    family: str, vocab: int, hidden: int, ffn: int, layers: int, heads: int, kv_heads: int, **changes: Any
) -> dict[str, Any]:
    shape = _qwen2(vocab, hidden, ffn, layers, heads, kv_heads, tie_word_embeddings=False)
    classes = {"llama": "LlamaForCausalLM", "qwen2": "Qwen2ForCausalLM", "qwen3": "Qwen3ForCausalLM",
               "qwen2_5_vl": "Qwen2_5_VLForConditionalGeneration"}  # fmt: skip
    return {**shape, "model_type": family, "architectures": [classes[family]], "head_dim": 128, **changes}


LLAMA3_ROPE = {"rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
               "original_max_position_embeddings": 8192}  # fmt: skip
TOWER = {"depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "num_heads": 16, "out_hidden_size": 3584,
         "patch_size": 14, "temporal_patch_size": 2, "spatial_merge_size": 2, "window_size": 112,
         "fullatt_block_indexes": [7, 15, 23, 31], "hidden_act": "silu"}  # fmt: skip
# The paper's models at full size, as their config.json have them, but for ids of special tokens, which are those of
# `write_tokenizer`.
PAPER = {
    "Llama-3.2-3B": _full("llama", 128256, 3072, 8192, 28, 24, 8, tie_word_embeddings=True, rms_norm_eps=1e-5,
                          rope_theta=5e5, rope_scaling=LLAMA3_ROPE, max_position_embeddings=131072),
    "Qwen2.5-7B": _full("qwen2", 152064, 3584, 18944, 28, 28, 4, max_position_embeddings=32768),
    "Qwen2.5-VL-7B": _full("qwen2_5_vl", 152064, 3584, 18944, 28, 28, 4, max_position_embeddings=128000,
                           rope_scaling={"type": "mrope", "mrope_section": [16, 24, 24]}, vision_config=TOWER,
                           image_token_id=152062),
    "Qwen3-8B": _full("qwen3", 151936, 4096, 12288, 36, 32, 8, max_position_embeddings=40960),
    "Qwen3-14B": _full("qwen3", 151936, 5120, 17408, 40, 40, 8, max_position_embeddings=40960),
}  # fmt: skip


def config_of(shape: str) -> ModelConfig:
    """The configuration of one of the SHAPES."""
    return ModelConfig.from_dict(SHAPES[shape])


def make_folder(shape: str, folder: Path, seed: int = 0) -> Path:
    """Write config.json, random weights in bfloat16 and a byte-level tokenizer; return `folder`.

    A tensor's numbers depend on `seed` and its name. Matrices and biases are N(0, 0.02²), norms 1 + N(0, 0.02²).
    """
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {}
    for name, size in config_of(shape).parameter_shapes().items():
        generator = np.random.Generator(np.random.Philox(key=[seed, zlib.crc32(name.encode())]))
        values = generator.standard_normal(size, dtype=np.float32)
        values *= np.float32(0.02)
        if name.endswith("norm.weight"):
            values += np.float32(1)
        tensors[name] = values.astype(ml_dtypes.bfloat16)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    config = {**SHAPES[shape], "dtype": "bfloat16"}
    (folder / "config.json").write_text(json.dumps(config, indent=1))
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": config["eos_token_id"]}))
    write_tokenizer(folder, config["vocab_size"])
    return folder


IMAGE_TOKENS, IMAGE_SIDE = 16, 112  # of the timed image: a token is 28 pixels wide and high
IMAGE_TEMPLATE = (
    "{% for message in messages %}{% for part in message['content'] %}{% if part['type'] == 'image' %}<image>"
    "{% else %}{{ part['text'] }}{% endif %}{% endfor %}{% endfor %}"
)


def write_tokenizer(folder: Path, vocab_size: int, images: bool = False) -> None:
    """A tokenizer in which each byte of a text is one token, and every id of the model stands for some text; the last
    one ends it. images: the id before stands for an image, and there is a chat template that writes it."""
    vocabulary = {character: byte for character, byte in byte_level_alphabet().items()}
    vocabulary |= {f"<{index}>": index for index in range(256, vocab_size - 1 - images)}
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([AddedToken(name, special=True) for name in ["<image>"] * images + ["<eos>"]])
    backend.save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<eos>", "pad_token": "<eos>"}
    settings |= {"chat_template": IMAGE_TEMPLATE} if images else {}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def random_tokens(shape: str, count: int, seed: int) -> np.ndarray:
    """int32[count] token ids, without the end of text."""
    vocab = SHAPES[shape]["vocab_size"]
    return np.random.default_rng([seed, count]).integers(0, vocab - 1, count, dtype=np.int32)
