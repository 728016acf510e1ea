"""Equal budgets: what a run has spent, and a callback that ends it when it has spent its share."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..io import read_jsonl_tolerant
from ..training import TrainerCallback


def spent(rows: Sequence[Mapping[str, Any]], seconds: float) -> dict[str, float]:
    """What a run has used so far.

    Args:
        rows: its metrics, one row a step (logging_steps=1). seconds: of its steps.

    Returns:
        responses: sampled, dropped ones included. sampled_tokens, trained_tokens: drawn; through forward and
        backward; tokens that responses share counted once. tokens: their sum. seconds.
    """
    sampled = sum(row.get("sampling/tokens", 0.0) for row in rows)
    trained = max((row["num_tokens"] for row in rows if "num_tokens" in row), default=0)
    return {
        "responses": sum(row.get("sampling/responses", 0.0) for row in rows),
        "sampled_tokens": sampled,
        "trained_tokens": float(trained),
        "tokens": sampled + trained,
        "seconds": seconds,
    }


def step_seconds(root: Path, last_step: int) -> float:
    """Seconds of the steps up to `last_step`; steps that a killed run did twice count once."""
    rows = read_jsonl_tolerant(root / "timings.jsonl") if (root / "timings.jsonl").exists() else []
    by_step = {row["step"]: row["step_time"] for row in rows if row["step"] <= last_step}
    return float(sum(by_step.values()))


class Budget(TrainerCallback):
    """Ends training once `unit` ("responses", "tokens" or "seconds") has reached `amount` and the rollout in
    use has fed all its steps. A resumed run counts what it had spent before.
    """

    def __init__(self, unit: str, amount: float):
        self._unit, self._amount = unit, amount
        self._seconds = self._began = 0.0

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._seconds = step_seconds(Path(args.output_dir), state.global_step)
        self._check(args, state, control)

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._began = time.perf_counter()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._seconds += time.perf_counter() - self._began
        self._check(args, state, control)

    def _check(self, args: Any, state: Any, control: Any) -> None:
        whole = state.global_step % args.steps_per_rollout == 0
        if whole and spent(state.log_history, self._seconds)[self._unit] >= self._amount:
            control.should_training_stop = True
