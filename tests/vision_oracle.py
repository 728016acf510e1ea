"""A small random Qwen2.5-VL computed by transformers and torch in float64: the yardstick of the vision tests.

As in `model_oracle.py`, norms, rotary tables and softmax are computed in float64 too. Needs torch and transformers.
"""

from __future__ import annotations

import copy
from unittest import mock

import model_oracle
import numpy as np
import torch
import transformers
from transformers.models.qwen2_5_vl import modeling_qwen2_5_vl as theirs
from vision_helpers import CONFIG

PREFIXES = (("model.", "model.language_model."), ("visual.", "model.visual."))


def their_name(name: str) -> str:
    """The name in transformers' module of a tensor."""
    return next((new + name.removeprefix(old) for old, new in PREFIXES if name.startswith(old)), name)


def build(config: dict, weights: dict[str, np.ndarray]) -> torch.nn.Module:
    """The transformers model in float64 with these weights."""
    plain = {key: value for key, value in copy.deepcopy(config).items() if key != "architectures"}  # they write into it
    hf_config = transformers.AutoConfig.for_model(**plain)
    for part in (hf_config, hf_config.text_config, hf_config.vision_config):
        part._attn_implementation = "eager"
    model = transformers.Qwen2_5_VLForConditionalGeneration(hf_config).double().eval()
    shapes = {name: tuple(p.shape) for name, p in model.named_parameters()}
    state = {their_name(n): torch.from_numpy(w).double() for n, w in weights.items()}
    state = {name: value.reshape(shapes.get(name, value.shape)) for name, value in state.items()}
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert not unexpected and set(missing) <= {"lm_head.weight"}, (missing, unexpected)
    if config["tie_word_embeddings"]:
        model.tie_weights()
    for module in model.modules():
        kind = type(module).__name__
        if kind.endswith("RMSNorm"):
            module.forward = model_oracle.exact_norm(module)
        elif kind == "Qwen2_5_VLRotaryEmbedding":
            module.forward = _exact_mrope(config)
        elif kind == "Qwen2_5_VLVisionRotaryEmbedding":
            module.forward = _exact_axial(config["vision_config"])
    return model


def _exact_mrope(config):
    size, sections = config["head_dim"], config["rope_scaling"]["mrope_section"]
    frequencies = config["rope_theta"] ** (-torch.arange(0, size, 2, dtype=torch.float64) / size)

    def forward(x, position_ids):
        angles = position_ids.expand(3, -1, -1)[..., None].double() * frequencies
        chosen = torch.cat([part[i] for i, part in enumerate(angles.split(sections, -1))], -1)
        angles = torch.cat([chosen, chosen], -1)
        return angles.cos(), angles.sin()

    return forward


def _exact_axial(vision):
    half = vision["hidden_size"] // vision["num_heads"] // 2
    frequencies = 10000.0 ** (-torch.arange(0, half, 2, dtype=torch.float64) / half)

    def forward(x, position_ids):
        angles = (position_ids[..., None].double() * frequencies).flatten(1)
        angles = torch.cat([angles, angles], -1)
        return angles.cos(), angles.sin()

    return forward


def _rotate_in_float64(q, k, cos, sin):
    cos, sin = cos.unsqueeze(-2), sin.unsqueeze(-2)
    return q * cos + theirs.rotate_half(q) * sin, k * cos + theirs.rotate_half(k) * sin


def logits(model: torch.nn.Module, tokens: np.ndarray, images: list) -> torch.Tensor:
    """Logits [T, V] of one sequence; images: (pixels, (rows, columns) of patches), in order."""
    ids = torch.from_numpy(tokens.astype(np.int64))[None]
    inputs = {}
    if images:
        inputs = {
            "pixel_values": torch.from_numpy(np.concatenate([pixels for pixels, _ in images])).double(),
            "image_grid_thw": torch.tensor([[1, *grid] for _, grid in images]),
            "mm_token_type_ids": (ids == CONFIG["image_token_id"]).int(),
        }
    model.model.rope_deltas = None
    with (
        model_oracle.softmax_in_float64(),
        mock.patch.object(theirs, "apply_rotary_pos_emb_vision", _rotate_in_float64),
    ):
        result = model(ids, use_cache=False, **inputs).logits[0]
    assert result.dtype == torch.float64
    return result


def compute(config: dict, weights: dict[str, np.ndarray], sequences: list) -> dict:
    """Logits of every (tokens, images), the mean negative log-likelihood of next tokens, and its gradients."""
    model = build(config, weights)
    outputs = [logits(model, tokens[:-1], images) for tokens, images in sequences]
    targets = torch.from_numpy(np.concatenate([tokens[1:] for tokens, _ in sequences]).astype(np.int64))
    loss = torch.nn.functional.cross_entropy(torch.cat(outputs), targets)
    loss.backward()
    found = dict(model.named_parameters())
    gradients = {name: found[their_name(name)].grad.reshape(w.shape).numpy() for name, w in weights.items()}
    return {"logits": [o.detach().numpy() for o in outputs], "loss": loss.item(), "gradients": gradients}
