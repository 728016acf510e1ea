"""Llama: Llama 2, 3, 3.1, 3.2 (Dubey et al. 2024, arXiv 2407.21783), SmolLM2, llama2.c's TinyStories."""

from .family import FamilySpec, truthy

FAMILY = FamilySpec(
    model_type="llama",
    architecture="LlamaForCausalLM",
    unsupported=(
        ("attention_bias", truthy, "biases on q, k, v and o projections"),
        ("mlp_bias", truthy, "biases in the MLP"),
    ),
)
