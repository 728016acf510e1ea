"""What an algorithm is: values, and a function where values do not suffice. All share one training loop."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from ..records import Group


@dataclass(frozen=True)
class AlgorithmSpec:
    """One algorithm.

    name: as in `algorithms.load(name)`.
    tree: True samples plan trees (`rollouts.sample_trees`), False flat groups (`rollouts.sample_flat`).
    defaults: option values that differ from, or are the point of, the common configuration. Keys are the
        option names of the training configuration; a user's own value wins.
    keep_group: where the algorithm samples dynamically, whether a scored group is worth an update; None
        keeps all.
    """

    name: str
    tree: bool
    defaults: Mapping[str, Any] = field(default_factory=dict)
    keep_group: Callable[[Group], bool] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "defaults", MappingProxyType(dict(self.defaults)))
