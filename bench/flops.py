"""Exact counts of floating-point operations: a multiplication and an addition are two.

Counted is the work that the task needs, whoever does it: the matrix products of the layers for every token, those of
the head for every target, and attention for the pairs of query and key that exist. Norms, rotary embedding, softmax
and the optimizer are not counted; work that an engine does twice (recomputation, padding, masked pairs) neither.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from ptagrpo.models import ModelConfig


def layer_weights(config: ModelConfig) -> int:
    """Numbers in the matrices of all layers."""
    queries = config.num_attention_heads * config.head_dim
    keys = config.num_key_value_heads * config.head_dim
    attention = config.hidden_size * (2 * queries + 2 * keys)
    return config.num_hidden_layers * (attention + 3 * config.hidden_size * config.intermediate_size)


def head_weights(config: ModelConfig) -> int:
    """Numbers in the head's matrix, tied or not."""
    return config.vocab_size * config.hidden_size


def causal_pairs(lengths: Sequence[int]) -> int:
    """Pairs of query and key in sequences that each see only themselves.

    >>> causal_pairs([3, 1])
    7
    """
    return sum(length * (length + 1) // 2 for length in lengths)


def forest_pairs(lengths: Sequence[int], parents: Sequence[int]) -> int:
    """Pairs of query and key in a forest of segments: a token sees its ancestors and its own segment causally.

    >>> forest_pairs([2, 3], [-1, 0])
    15
    """
    depth: list[int] = []
    pairs = 0
    for length, parent in zip(lengths, parents, strict=True):
        before = 0 if parent < 0 else depth[parent]
        depth.append(before + length)
        pairs += length * before + length * (length + 1) // 2
    return pairs


def forward(config: ModelConfig, tokens: int, targets: int, pairs: int) -> int:
    """Operations of one forward pass. A pair costs two products of head_dim in each head: scores and values."""
    attention = 4 * config.num_attention_heads * config.head_dim * config.num_hidden_layers * pairs
    return 2 * layer_weights(config) * tokens + 2 * head_weights(config) * targets + attention


def tower_weights(config: ModelConfig) -> tuple[int, int]:
    """Numbers in the matrices of a vision tower that every patch meets, and in those of its merger, which every row of
    the language model's input meets."""
    shapes = {} if config.vision is None else config.vision.parameter_shapes()
    sizes = {name: math.prod(shape) for name, shape in shapes.items() if len(shape) == 2}
    merger = sum(size for name, size in sizes.items() if ".merger." in name)
    return sum(sizes.values()) - merger, merger


def adapt(config: ModelConfig, tokens: int, targets: int, pairs: int) -> int:
    """Operations of forward and backward where the weights are frozen and a small adapter is trained: products have no
    gradient of their weight, attention has both of its operands'; the adapter's own are not counted."""
    products = forward(config, tokens, targets, 0)
    return 2 * products + 3 * (forward(config, tokens, targets, pairs) - products)


def train(config: ModelConfig, tokens: int, targets: int, pairs: int) -> int:
    """Operations of forward and backward: three times the forward pass."""
    return 3 * forward(config, tokens, targets, pairs)
