"""Frequencies of the rotary position embedding (Su et al. 2021, arXiv 2104.09864).

Rotary pair `i` of a head of size `D` turns by `position * inv_freq[i]`, `inv_freq[i] = theta^(-2i/D)`. Llama
3.1 stretches the slow ones for longer contexts ("llama3" scaling, Llama 3 Herd, arXiv 2407.21783, section
3.4).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ..errors import ConfigError, did_you_mean

LLAMA3_KEYS = ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings")


def inverse_frequencies(head_dim: int, theta: float, scaling: Mapping[str, Any] | None = None) -> np.ndarray:
    """Return the rotary frequencies in radians per position.

    Args:
        head_dim: size of one attention head, even.
        theta: the base, `rope_theta` of a config.json.
        scaling: None, or a dict with `rope_type` ("default" or "llama3") and that type's numbers.

    Returns:
        float64 array of shape (head_dim / 2,).

    Raises:
        ConfigError: an odd `head_dim`, a `theta` that is not positive, an unknown `rope_type`, or a missing
            number.

    >>> inverse_frequencies(4, 10000.0)
    array([1.  , 0.01])
    """
    if head_dim <= 0 or head_dim % 2:
        raise ConfigError(f"head_dim: rotary embedding needs a positive even head size, got {head_dim}")
    if not (math.isfinite(theta) and theta > 0):
        raise ConfigError(f"rope_theta: expected a positive number, got {theta!r}")
    plain = float(theta) ** -(np.arange(0, head_dim, 2, dtype=np.float64) / head_dim)
    rope_type = rope_type_of(scaling)
    if rope_type not in ROPE_TYPES:
        raise ConfigError(
            f"rope_type {rope_type!r} is not supported; known: {', '.join(sorted(ROPE_TYPES))}."
            f"{did_you_mean(str(rope_type), ROPE_TYPES)}"
        )
    return ROPE_TYPES[rope_type](plain, scaling or {})


def rope_type_of(scaling: Mapping[str, Any] | None) -> str:
    """The name of a scaling dict's rule: `rope_type`, or `type` in older files; "default" for None."""
    if not scaling:
        return "default"
    return scaling.get("rope_type", scaling.get("type", "default"))


def written_scaling(scaling: Mapping[str, Any] | None) -> tuple[dict[str, Any] | None, dict[str, Any]]:
    """`rope_scaling` and `rope_parameters` (without theta) of a config.json that transformers 4 and 5 both load."""
    rest = {key: value for key, value in (scaling or {}).items() if key != "rope_type"}
    if rope_type_of(scaling) == "mrope":  # a name of transformers 4 alone
        return {"type": "mrope", **rest}, {"rope_type": "default", **rest}
    rule = {"rope_type": rope_type_of(scaling), **rest}
    return (None if scaling is None else rule), rule


def _default(plain: np.ndarray, scaling: Mapping[str, Any]) -> np.ndarray:
    return plain


def _llama3(plain: np.ndarray, scaling: Mapping[str, Any]) -> np.ndarray:
    """Wavelengths above `original / low_freq_factor` are stretched by `factor`, below `original /
    high_freq_factor` kept, and blended between the two."""
    for key in LLAMA3_KEYS:
        value = scaling.get(key)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0:
            raise ConfigError(f"rope scaling 'llama3' needs a positive number {key!r}, got {value!r}")
    factor, low, high, original = (float(scaling[key]) for key in LLAMA3_KEYS)
    if high <= low:
        raise ConfigError(
            f"rope scaling 'llama3': high_freq_factor {high} must be above low_freq_factor {low}"
        )
    turns = original * plain / (2.0 * math.pi)  # how often a pair turns within the original context
    keep = np.clip((turns - low) / (high - low), 0.0, 1.0)
    return plain * (keep + (1.0 - keep) / factor)


def _mrope(plain: np.ndarray, scaling: Mapping[str, Any]) -> np.ndarray:
    """Multimodal rotary embedding: the same frequencies; pairs turn by time, height or width (`mrope_sections`)."""
    mrope_sections(scaling, len(plain))
    return plain


def mrope_sections(scaling: Mapping[str, Any], pairs: int) -> list[int]:
    """How many of a head's rotary pairs turn by time, by height and by width.

    Raises:
        ConfigError: not three positive integers that add up to `pairs`.
    """
    found = scaling.get("mrope_section")
    whole = isinstance(found, (list, tuple)) and all(isinstance(n, int) and n > 0 for n in found)
    if not whole or len(found) != 3 or sum(found) != pairs:
        raise ConfigError(
            f"mrope_section: expected three positive integers that add up to head_dim / 2 ({pairs}), got {found!r}"
        )
    return list(found)


ROPE_TYPES: dict[str, Callable[[np.ndarray, Mapping[str, Any]], np.ndarray]] = {
    "default": _default,
    "llama3": _llama3,
    "mrope": _mrope,
}
