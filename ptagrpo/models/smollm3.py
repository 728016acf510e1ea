"""SmolLM3 (Hugging Face, 2025): Llama without rotary embedding in some layers (NoPE, every fourth by default)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import ConfigError
from .family import FamilySpec, sliding_window_in_use, truthy


def _unrotated(config: Mapping[str, Any]) -> tuple[int, ...]:
    """Layers whose entry of `no_rope_layers` is 0 (so does transformers count); without that key every
    `no_rope_layer_interval`-th."""
    layers = int(config["num_hidden_layers"])
    listed = config.get("no_rope_layers")
    if listed is None:
        interval = config.get("no_rope_layer_interval", 4)
        listed = [int((layer + 1) % interval != 0) for layer in range(layers)]
    if len(listed) != layers:
        raise ConfigError(f"no_rope_layers: expected {layers} entries, one for each layer, got {len(listed)}")
    return tuple(layer for layer, rotated in enumerate(listed) if not rotated)


FAMILY = FamilySpec(
    model_type="smollm3",
    architecture="SmolLM3ForCausalLM",
    unsupported=(
        ("attention_bias", truthy, "biases on q, k, v and o projections"),
        ("mlp_bias", truthy, "biases in the MLP"),
        ("use_sliding_window", sliding_window_in_use, "sliding-window attention"),
    ),
    unrotated=_unrotated,
)
