"""Small random models computed by transformers and torch in float64: the yardstick of the model tests.

transformers computes norms, rotary tables and the softmax in float32 whatever the model's type; here those
three are computed in float64 as well, so that the yardstick is exact. Needs torch and transformers; imported
by `make_fixtures.py` and by the live tests only.
"""

from __future__ import annotations

from contextlib import contextmanager
from unittest import mock

import numpy as np
import torch
import transformers

LENGTHS = (1, 2, 7, 33)
LLAMA3 = {
    "rope_type": "llama3",
    "factor": 4.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
BASE = {
    "vocab_size": 53,
    "hidden_size": 20,
    "intermediate_size": 27,
    "num_hidden_layers": 2,
    "num_attention_heads": 5,
    "num_key_value_heads": 1,
    "head_dim": 4,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "max_position_embeddings": 256,
}
# Name of the case: (model_type, what differs from BASE).
CASES = {
    "llama_untied": ("llama", {"tie_word_embeddings": False}),
    "llama_tied_llama3": (
        "llama",
        {
            "tie_word_embeddings": True,
            "rope_scaling": LLAMA3,
            "rope_theta": 500.0,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "hidden_size": 24,
            "head_dim": 6,
            "num_hidden_layers": 3,
        },
    ),
    "llama_untied_llama3": (
        "llama",
        {"tie_word_embeddings": False, "rope_scaling": LLAMA3, "num_key_value_heads": 5},
    ),
    "qwen2_untied": ("qwen2", {"tie_word_embeddings": False, "rope_theta": 1e6, "rms_norm_eps": 1e-6}),
    "qwen2_tied": (
        "qwen2",
        {"tie_word_embeddings": True, "num_attention_heads": 6, "num_key_value_heads": 2, "hidden_size": 36,
         "head_dim": 6, "num_hidden_layers": 3},
    ),
    "qwen3_tied": ("qwen3", {"tie_word_embeddings": True, "head_dim": 14, "num_attention_heads": 3}),
    "smollm3_tied": (
        "smollm3",
        {"tie_word_embeddings": True, "num_hidden_layers": 4, "no_rope_layers": [1, 0, 1, 0], "pad_token_id": None},
    ),
    "qwen3_untied": (
        "qwen3",
        {"tie_word_embeddings": False, "num_attention_heads": 6, "num_key_value_heads": 3,
         "rms_norm_eps": 1e-6},
    ),
}  # fmt: skip
ARCHITECTURES = {"llama": "LlamaForCausalLM", "qwen2": "Qwen2ForCausalLM", "qwen3": "Qwen3ForCausalLM",
                 "smollm3": "SmolLM3ForCausalLM"}  # fmt: skip


def case_config(name: str) -> dict:
    """The config.json of a case, in the form of transformers 4."""
    model_type, changes = CASES[name]
    return {**BASE, **changes, "model_type": model_type, "architectures": [ARCHITECTURES[model_type]]}


def random_weights(shapes: dict[str, tuple[int, ...]], seed: int) -> dict[str, np.ndarray]:
    """float32 weights large enough that every part of the model matters."""
    generator = np.random.default_rng(seed)
    weights = {}
    for name, shape in shapes.items():
        if len(shape) == 2:
            scale = 0.5 if "embed" in name else 1.2 / np.sqrt(shape[1])
            weights[name] = (generator.standard_normal(shape) * scale).astype(np.float32)
        else:
            center = 0.0 if name.endswith(".bias") else 1.0
            weights[name] = (center + 0.3 * generator.standard_normal(shape)).astype(np.float32)
    return weights


def random_tokens(vocab_size: int, seed: int, lengths=LENGTHS) -> list[np.ndarray]:
    """One sequence of T + 1 tokens for each length T: T inputs, and the last target."""
    generator = np.random.default_rng(seed + 1000)
    return [generator.integers(0, vocab_size, length + 1).astype(np.int32) for length in lengths]


def build(config: dict, weights: dict[str, np.ndarray]) -> torch.nn.Module:
    """The transformers model in float64 with these weights."""
    plain = {k: v for k, v in config.items() if k not in ("architectures",)}
    hf_config = transformers.AutoConfig.for_model(**plain)
    hf_config._attn_implementation = "eager"
    model = getattr(transformers, config["architectures"][0])(hf_config).double().eval()
    state = {name: torch.from_numpy(array).double() for name, array in weights.items()}
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert not unexpected and set(missing) <= {"lm_head.weight"}, (missing, unexpected)
    if config["tie_word_embeddings"]:
        model.tie_weights()
        assert model.lm_head.weight is model.model.embed_tokens.weight
    for module in model.modules():
        if type(module).__name__.endswith("RMSNorm"):
            module.forward = exact_norm(module)
        if type(module).__name__.endswith("RotaryEmbedding"):
            module.forward = _exact_rotary(config)
    return model


def exact_norm(module):
    """The forward of an RMSNorm module in the type of its input."""
    def forward(x):
        return module.weight * x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + module.variance_epsilon)

    return forward


def _exact_rotary(config):
    size, scaling = config["head_dim"], config.get("rope_scaling")
    frequencies = config["rope_theta"] ** (-torch.arange(0, size, 2, dtype=torch.float64) / size)
    if scaling:  # the rule as the Llama authors state it: three ranges of wavelengths
        original, low, high = (
            scaling[k] for k in ("original_max_position_embeddings", "low_freq_factor", "high_freq_factor")
        )
        wavelength = 2 * torch.pi / frequencies
        smooth = (original / wavelength - low) / (high - low)
        blended = (1 - smooth) * frequencies / scaling["factor"] + smooth * frequencies
        frequencies = torch.where(
            wavelength > original / low,
            frequencies / scaling["factor"],
            torch.where(wavelength < original / high, frequencies, blended),
        )

    def forward(x, position_ids):
        angles = position_ids[..., None].double() * frequencies
        angles = torch.cat([angles, angles], -1)
        return angles.cos(), angles.sin()

    return forward


@contextmanager
def softmax_in_float64():
    """Attention asks for a float32 softmax; give it float64."""
    original = torch.nn.functional.softmax

    def softmax(x, dim=None, dtype=None, **rest):
        return original(x, dim=dim, dtype=torch.float64, **rest)

    with mock.patch.object(torch.nn.functional, "softmax", softmax):
        yield


def logits(model: torch.nn.Module, inputs: np.ndarray) -> torch.Tensor:
    """Logits [T, V] of one sequence."""
    with softmax_in_float64():
        result = model(torch.from_numpy(inputs.astype(np.int64))[None], use_cache=False).logits[0]
    assert result.dtype == torch.float64
    return result


def compute(config: dict, weights: dict[str, np.ndarray], sequences: list[np.ndarray]) -> dict:
    """Logits of every sequence, the mean negative log-likelihood of all targets, and its gradients."""
    model = build(config, weights)
    outputs = [logits(model, sequence[:-1]) for sequence in sequences]
    targets = torch.from_numpy(np.concatenate([s[1:] for s in sequences]).astype(np.int64))
    loss = torch.nn.functional.cross_entropy(torch.cat(outputs), targets)
    loss.backward()
    gradients = {name: p.grad.numpy() for name, p in model.named_parameters()}
    return {"logits": [o.detach().numpy() for o in outputs], "loss": loss.item(), "gradients": gradients}
