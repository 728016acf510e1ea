"""Says in plain words, while a run is going, what its metrics show to be wrong."""

from __future__ import annotations

import warnings
from collections import Counter
from typing import Any

from ..understanding import explain
from .callbacks import TrainerCallback

PATIENCE = 3


class PlanWarning(UserWarning):
    """A finding about a run that goes on; filter it with the `warnings` module."""


class PlanWarnings(TrainerCallback):
    """Warns once of each finding of `understanding.explain` that holds in PATIENCE logged rows in a row."""

    def __init__(self) -> None:
        self._streaks: Counter[str] = Counter()

    def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        logs = kwargs["logs"]
        if "reward" not in logs:
            return
        findings = {finding.kind: finding.text for finding in explain(logs)}
        for kind in [*self._streaks]:
            if kind not in findings and self._streaks[kind] < PATIENCE:
                del self._streaks[kind]
        for kind, text in findings.items():
            self._streaks[kind] += 1
            if self._streaks[kind] == PATIENCE:
                # The place that a reader needs is the run and its step, not a line of this package.
                warnings.warn_explicit(
                    f"step {state.global_step}: {text}", PlanWarning, str(args.output_dir), state.global_step
                )
