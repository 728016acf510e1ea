"""Algorithms: one small file each, found by its name. The folder is the registry.

A file defines `SPEC`, an `AlgorithmSpec`. Add `my_algorithm.py` here and `load("my_algorithm")` finds it.
"""

from __future__ import annotations

import importlib
import pkgutil

from ..errors import ConfigError, did_you_mean
from .advantages import AdvantageSettings, AdvantageStats, assign_advantages
from .spec import AlgorithmSpec

__all__ = ["AdvantageSettings", "AdvantageStats", "AlgorithmSpec", "assign_advantages", "load", "names"]

_NOT_ALGORITHMS = {"advantages", "hierarchical", "spec"}


def names() -> list[str]:
    """Names of all algorithms, sorted.

    >>> names()
    ['dapo', 'dr_grpo', 'grpo', 'pta_grpo']
    """
    found = {module.name for module in pkgutil.iter_modules(__path__)}
    return sorted(found - _NOT_ALGORITHMS)


def load(name: str) -> AlgorithmSpec:
    """Return the algorithm called `name`.

    Raises:
        ConfigError: there is no such file in the folder; says which there are.

    >>> load("pta_grpo").tree
    True
    """
    if name not in names():
        raise ConfigError(
            f"algorithm: got {name!r}, expected one of {', '.join(names())}.{did_you_mean(name, names())}"
        )
    spec: AlgorithmSpec = importlib.import_module(f"{__name__}.{name}").SPEC
    return spec
