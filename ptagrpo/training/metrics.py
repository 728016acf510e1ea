"""What a run writes about itself: metrics.jsonl (deterministic values only) and timings.jsonl (wall times).

A row of metrics averages the steps since the previous row. Rows are kept in the checkpoint too
(`log_history`), and metrics.jsonl is rebuilt from there on resume, so that rows of steps that are done again
do not stand there twice.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import ConfigError
from ..io import append_jsonl, atomic_write_text


class Window:
    """Running means of metrics since the last logged row; each metric over the steps that reported it."""

    def __init__(self) -> None:
        self._sums: dict[str, list[float]] = {}

    def add(self, metrics: Mapping[str, float]) -> None:
        """Add one step's metrics; values that are not finite are left out."""
        for name, value in metrics.items():
            if math.isfinite(value):
                entry = self._sums.setdefault(name, [0.0, 0])
                entry[0] += float(value)
                entry[1] += 1

    def pop(self) -> dict[str, float]:
        """The means, in order of first report; the window is empty afterwards."""
        means = {name: total / count for name, (total, count) in self._sums.items()}
        self._sums.clear()
        return means

    def state(self) -> dict[str, list[float]]:
        """What `restore` needs; JSON keeps every bit of it."""
        return {name: list(entry) for name, entry in self._sums.items()}

    def restore(self, state: Mapping[str, Sequence[float]]) -> None:
        """Go back to a saved state."""
        self._sums = {name: [float(total), int(count)] for name, (total, count) in state.items()}


class MetricsLog:
    """metrics.jsonl and timings.jsonl of an output folder."""

    def __init__(self, root: str | os.PathLike):
        self.path = Path(root) / "metrics.jsonl"
        self._timings = Path(root) / "timings.jsonl"

    def rebuild(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Make metrics.jsonl hold exactly `rows`."""
        atomic_write_text(self.path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))

    def append(self, row: Mapping[str, Any]) -> None:
        """Add a row of metrics. Not fsynced: what a crash loses is rebuilt from the checkpoint."""
        append_jsonl(self.path, [dict(row)], sync=False)

    def append_timing(self, row: Mapping[str, Any]) -> None:
        """Add a row of wall times."""
        append_jsonl(self._timings, [dict(row)], sync=False)


def own_metrics(values: Any) -> dict[str, float]:
    """What a user's `compute_metrics` returned, as finite numbers by name without the prefix "eval_".

    Raises:
        ConfigError: not a mapping of names to numbers; names the first that is none.
    """
    if not isinstance(values, Mapping):
        raise ConfigError(
            f"compute_metrics: expected a mapping of names to numbers, got {type(values).__name__}"
        )
    metrics = {}
    for name, value in values.items():
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = math.nan
        if not math.isfinite(number):
            raise ConfigError(f"compute_metrics: {name!r}: expected a finite number, got {value!r}")
        metrics[str(name).removeprefix("eval_")] = number
    return metrics
