"""Callbacks with the names and arguments of the Hugging Face Trainer, and the progress bar as one of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tqdm.auto import tqdm

from ..errors import ConfigError

EVENTS = (
    "on_train_begin", "on_train_end", "on_step_begin", "on_substep_end", "on_step_end", "on_log",
    "on_evaluate", "on_save",
)  # fmt: skip


@dataclass
class TrainerState:
    """Where a run is; the fields that trainer_state.json shares with the Hugging Face Trainer.

    global_step: completed optimizer steps. epoch: passes over the data. log_history: the rows of
        metrics.jsonl.
    num_input_tokens_seen: tokens that went through forward and backward.
    best_metric, best_global_step, best_model_checkpoint: the best evaluation (`metric_for_best_model`), its step, and
        the checkpoint of that step if one was written.
    """

    global_step: int = 0
    max_steps: int = 0
    epoch: float = 0.0
    num_train_epochs: int = 0
    num_input_tokens_seen: int = 0
    log_history: list[dict[str, Any]] = field(default_factory=list)
    best_metric: float | None = None
    best_global_step: int | None = None
    best_model_checkpoint: str | None = None
    is_world_process_zero: bool = True
    is_local_process_zero: bool = True


@dataclass
class TrainerControl:
    """What a callback may ask for by setting a field to True: an end of training, a checkpoint, an
    evaluation.
    """

    should_training_stop: bool = False
    should_save: bool = False
    should_evaluate: bool = False
    should_log: bool = False


class TrainerCallback:
    """Base with an empty method per event. Each is called as `on_event(args, state, control, **kwargs)`.

    kwargs hold `model` (the Policy); `logs` for on_log; `metrics` for on_evaluate; `checkpoint` (Path) for
    on_save. on_substep_end comes after each micro-batch but the last one of a step, on_step_end after the
    update. Any object with methods of these names will do, a Hugging Face TrainerCallback among them.
    """

    def on_train_begin(
        self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None: ...
    def on_train_end(
        self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None: ...
    def on_step_begin(
        self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None: ...
    def on_substep_end(
        self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None: ...
    def on_step_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None: ...
    def on_log(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None: ...
    def on_evaluate(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None: ...
    def on_save(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None: ...


class EarlyStoppingCallback(TrainerCallback):
    """Ends training when `metric_for_best_model` has not improved in `early_stopping_patience` evaluations.

    It counts in the log of the run and keeps nothing itself, so a resumed run stops where the other would have.

    Args:
        early_stopping_patience: evaluations in a row without an improvement.
        early_stopping_threshold: an improvement by no more than this counts as none.

    Raises:
        ConfigError: wrong numbers; at the start of training: there are no evaluations.
    """

    def __init__(self, early_stopping_patience: int = 1, early_stopping_threshold: float = 0.0):
        if early_stopping_patience < 1 or early_stopping_threshold < 0:
            raise ConfigError(
                f"EarlyStoppingCallback: early_stopping_patience: got {early_stopping_patience}, must be at least 1; "
                f"early_stopping_threshold: got {early_stopping_threshold}, must not be negative"
            )
        self.early_stopping_patience = early_stopping_patience
        self.early_stopping_threshold = early_stopping_threshold

    def on_train_begin(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if args.eval_strategy == "no":
            raise ConfigError("EarlyStoppingCallback: needs evaluations: set eval_strategy='steps'")
        self.on_evaluate(args, state, control)

    def on_evaluate(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        values = [
            row[args.best_metric] for row in state.log_history if args.best_metric in row and row["step"]
        ]
        if self._evaluations_lost(values, args.best_is_greatest) >= self.early_stopping_patience:
            control.should_training_stop = True

    def _evaluations_lost(self, values: Sequence[float], greatest: bool) -> int:
        """Evaluations since the last improvement."""
        lost, best = 0, None
        for value in values:
            gain = math.inf if best is None else (value - best) * (1 if greatest else -1)
            lost = 0 if gain > self.early_stopping_threshold else lost + 1
            best = value if gain > 0 else best
        return lost


class CallbackList:
    """Calls every callback that has a method for an event, in order."""

    def __init__(self, callbacks: Sequence[Any]):
        self.callbacks = [callback() if isinstance(callback, type) else callback for callback in callbacks]
        for callback in self.callbacks:
            if not any(hasattr(callback, event) for event in EVENTS):
                raise ConfigError(
                    f"callbacks: {type(callback).__name__} has none of the methods that are called: {', '.join(EVENTS)}"
                )

    def call(
        self, event: str, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Call `event` on all."""
        for callback in self.callbacks:
            method = getattr(callback, event, None)
            if method is not None:
                method(args, state, control, **kwargs)


class ProgressBar(TrainerCallback):
    """A bar over the optimizer steps with the live values of the last step (`live`, set by the trainer)."""

    def __init__(self) -> None:
        self.live: dict[str, float] = {}
        self._bar: tqdm | None = None

    def on_train_begin(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self._bar = tqdm(
            total=state.max_steps, initial=state.global_step, desc=args.run_name or "training", unit="step",
            dynamic_ncols=True, disable=args.disable_tqdm,
        )  # fmt: skip

    def on_step_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if self._bar is not None:
            self._bar.set_postfix({name: f"{value:.3g}" for name, value in self.live.items()}, refresh=False)
            self._bar.update(state.global_step - self._bar.n)

    def close(self) -> None:
        """End the bar, whatever ended the training."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None
