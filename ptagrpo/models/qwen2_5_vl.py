"""Qwen2.5-VL (arXiv 2502.13923): Qwen2.5 with multimodal rotary embedding, and a vision tower before it.

config.json comes in two layouts: the language model's keys beside `vision_config` (as on the hub), or in a
`text_config` of their own (as newer transformers write it). Names of tensors too: `model.` and `visual.` (the hub,
and here), or `model.language_model.` and `model.visual.`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ..errors import ConfigError
from .family import FamilySpec, sliding_window_in_use
from .vision import VisionConfig


def _flatten(config: Mapping[str, Any]) -> dict[str, Any]:
    """The config.json with the language model's keys beside the others, and its rotary rule under one name."""
    text = config.get("text_config")
    if text is not None and not isinstance(text, Mapping):
        raise ConfigError(f"text_config: expected an object, got {text!r}")
    own = {
        k: v
        for k, v in (text or {}).items()
        if k not in ("model_type", "architectures", "tie_word_embeddings")
    }
    flat = {**{k: v for k, v in config.items() if k != "text_config"}, **own}
    tied = [part["tie_word_embeddings"] for part in (config, text or {}) if "tie_word_embeddings" in part]
    flat["tie_word_embeddings"] = any(tied)
    for key in ("rope_scaling", "rope_parameters"):
        rule = flat.get(key)
        if isinstance(rule, Mapping) and rule.get("mrope_section") and rule.get("rope_type", rule.get("type")) in (
            None, "default", "mrope",
        ):  # fmt: skip
            rest = {k: v for k, v in rule.items() if k not in ("type", "rope_type")}
            flat[key] = {"rope_type": "mrope", **rest}
    if not any((flat.get(key) or {}).get("mrope_section") for key in ("rope_scaling", "rope_parameters")):
        raise ConfigError(
            "rope_scaling: expected an object with 'mrope_section' (three numbers of rotary pairs)"
        )
    return flat


def _vision(config: Mapping[str, Any]) -> VisionConfig:
    if config.get("vision_config") is None:
        raise ConfigError("missing vision_config")
    return VisionConfig.from_dict(
        config["vision_config"], config["hidden_size"], config.get("image_token_id", 151655)
    )


def _name(stored: str) -> str:
    return re.sub(r"^model\.(language_model\.|(?=visual\.))", lambda m: "model." if m[1] else "", stored)


FAMILY = FamilySpec(
    model_type="qwen2_5_vl",
    architecture="Qwen2_5_VLForConditionalGeneration",
    attention_bias=True,
    unsupported=(("use_sliding_window", sliding_window_in_use, "sliding-window attention"),),
    flatten=_flatten,
    vision=_vision,
    tensor_name=_name,
    language_model="model.language_model.",
)
