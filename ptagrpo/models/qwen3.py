"""Qwen3, dense (arXiv 2505.09388): no biases, RMSNorm on each query and key head, a head size of its own."""

from .family import FamilySpec, sliding_window_in_use, truthy

FAMILY = FamilySpec(
    model_type="qwen3",
    architecture="Qwen3ForCausalLM",
    qk_norm=True,
    default_head_dim=128,
    unsupported=(
        ("attention_bias", truthy, "biases on q, k, v and o projections"),
        ("use_sliding_window", sliding_window_in_use, "sliding-window attention"),
    ),
)
