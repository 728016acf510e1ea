"""Which evaluation was the best so far, and its weights at the end (`load_best_model_at_end`)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from ..errors import ConfigError
from ..policy import Policy
from .callbacks import TrainerState
from .config_common import TrainingConfig
from .run_store import RunStore, verify


def note(args: TrainingConfig, state: TrainerState, metrics: Mapping[str, float]) -> bool:
    """Enter an evaluation of the completed steps into the state. Returns whether it is the best so far.

    Raises:
        ConfigError: the evaluation has no metric `metric_for_best_model`.
    """
    if not args.load_best_model_at_end and args.metric_for_best_model is None:
        return False
    name = args.best_metric
    if name not in metrics:
        raise ConfigError(
            f"metric_for_best_model: the evaluation has no {name!r}; it has {', '.join(sorted(metrics))}"
        )
    value = float(metrics[name])
    gain = math.inf if state.best_metric is None else value - state.best_metric
    if math.isnan(value) or gain * (1 if args.best_is_greatest or math.isinf(gain) else -1) <= 0:
        return False
    state.best_metric, state.best_global_step = value, state.global_step
    return True


def load(policy: Policy, state: TrainerState, store: RunStore) -> Path | None:
    """Put the weights of the best checkpoint into the policy. None: no evaluation was made.

    Raises:
        CheckpointError: the checkpoint is missing or damaged; the weights are as they were.
    """
    if state.best_global_step is None or state.best_global_step == state.global_step:
        return None
    folder = store.path(state.best_global_step)
    verify(folder)
    policy.load_weights_from(folder)
    return folder
