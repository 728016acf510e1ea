"""Whether a model fits into memory, from its configuration alone."""

from __future__ import annotations

import numpy as np

from .. import _core
from ..environment import gib, machine_memory, parse_memory, resident_memory
from ..errors import ConfigError
from ..models.config import ModelConfig

FORMS = (None, "bfloat16", "int8", "int4")  # quantizations, from the largest to the smallest


def model_bytes(config: ModelConfig, dtype: str, quantization: str | None) -> int:
    """Bytes of a model that computes: its weights, and the packed working copies where there are masters."""
    one = _core.Forest(np.zeros(1, np.int32), np.array([0, 1], np.int32), np.array([-1], np.int32))
    sizes = _core.plan_bytes(config.core_config(dtype, quantization), one, "inputs", one, 1)
    return sizes["weights"] + sizes["packed"]


def check_fits(
    name: str, config: ModelConfig, dtype: str, quantization: str | None, max_memory: str | int
) -> None:
    """Refuse a model whose weights cannot fit.

    Args:
        name: what to call it. max_memory: what the process may take in all, as "12GiB", or "50%" of the machine's.

    Raises:
        ConfigError: says what it needs, what is left, and which quantization would fit.
    """
    held = resident_memory()
    left = parse_memory(max_memory, machine_memory()[0]) - held
    needed = model_bytes(config, dtype, quantization)
    if needed <= left:
        return
    smaller = {form: model_bytes(config, dtype, form) for form in FORMS[FORMS.index(quantization) + 1 :]}
    fitting = [f"quantization={form!r} ({gib(size)})" for form, size in smaller.items() if size <= left]
    what = "float32 masters and working copies" if quantization is None else f"{quantization} weights"
    advice = (
        f"These would fit, to sample or with an adapter: {', '.join(fitting)}" if fitting
        else f"no smaller form fits either ({', '.join(f'{form}: {gib(size)}' for form, size in smaller.items())})"
        if smaller else "there is no smaller form"
    )  # fmt: skip
    raise ConfigError(
        f"{name}: its {what} take {gib(needed)}, but max_memory ({max_memory}) leaves {gib(max(0, left))} beside the "
        f"{gib(held)} that the process has. {advice}"
    )
