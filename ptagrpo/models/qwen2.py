"""Qwen2 and Qwen2.5 (arXiv 2412.15115): Llama with biases on the q, k and v projections."""

from .family import FamilySpec, sliding_window_in_use

FAMILY = FamilySpec(
    model_type="qwen2",
    architecture="Qwen2ForCausalLM",
    attention_bias=True,
    unsupported=(("use_sliding_window", sliding_window_in_use, "sliding-window attention"),),
)
