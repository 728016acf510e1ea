"""Metrics to other tools while a run goes on: TensorBoard (tensorboardX), trackio, Weights & Biases.

metrics.jsonl is always written; this is beside it. A package that is not installed is an error before training
starts. A backend that fails later (server down, disk full) is reported once and left alone: the run goes on.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import ConfigError, did_you_mean
from .callbacks import TrainerCallback, TrainerControl, TrainerState

PACKAGES = {"tensorboard": "tensorboardX", "trackio": "trackio", "wandb": "wandb"}
PROJECT = "ptagrpo"


def backend_names(report_to: str | Sequence[str] | None, where: str = "report_to") -> list[str]:
    """The backends that an option `report_to` names; "all" are those whose package is installed.

    Raises:
        ConfigError: an unknown name.
    """
    names = [report_to] if isinstance(report_to, str) else list(report_to or ())
    if names == ["all"]:
        return [name for name, package in PACKAGES.items() if importlib.util.find_spec(package)]
    if names == ["none"]:
        return []
    for name in names:
        if name not in PACKAGES:
            raise ConfigError(
                f"{where}: got {name!r}, expected {', '.join(PACKAGES)}, a list of these, 'all' or 'none' "
                f"(alone).{did_you_mean(str(name), [*PACKAGES, 'none', 'all'])}"
            )
    return list(dict.fromkeys(names))


def reporters(report_to: str | Sequence[str] | None) -> list[Reporter]:
    """The callbacks for an option `report_to`.

    Raises:
        ConfigError: an unknown name, or a package that is not installed.
    """
    chosen = []
    for name in backend_names(report_to):
        try:
            module = importlib.import_module(PACKAGES[name])
        except ImportError as error:
            raise ConfigError(
                f"report_to={name!r}: the package {PACKAGES[name]} cannot be imported ({error}); "
                f"pip install {PACKAGES[name]}, or leave report_to out: metrics.jsonl is always written"
            ) from error
        chosen.append(Reporter(name, _BACKENDS[name], module))
    return chosen


class Reporter(TrainerCallback):
    """Hands logged metrics to one backend; after its first failure, to none.

    Args:
        start: (module, args, state) -> (log(metrics, step), close()).
    """

    def __init__(self, name: str, start: Callable[..., tuple[Callable, Callable]], module: Any):
        self.name = name
        self._start, self._module = start, module
        self._log: Callable[[dict[str, float], int], Any] | None = None
        self._close: Callable[[], Any] | None = None

    def on_train_begin(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self.close()
        try:
            self._log, self._close = self._start(self._module, args, state)
        except Exception as error:
            self._give_up(error)

    def on_log(
        self, args: Any, state: TrainerState, control: TrainerControl, logs: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:  # fmt: skip
        self._send(state.global_step, logs or {})

    def on_evaluate(
        self, args: Any, state: TrainerState, control: TrainerControl,
        metrics: Mapping[str, Any] | None = None, **kwargs: Any,
    ) -> None:  # fmt: skip
        self._send(state.global_step, metrics or {})

    def close(self) -> None:
        """End the backend's run, whatever ended the training."""
        close, self._log, self._close = self._close, None, None
        if close is not None:
            try:
                close()
            except Exception as error:
                self._give_up(error)

    def _send(self, step: int, values: Mapping[str, Any]) -> None:
        if self._log is None:
            return
        numbers = {
            name: float(value)
            for name, value in values.items()
            if isinstance(value, (int, float)) and not isinstance(value, bool) and name != "step"
        }
        try:
            self._log(numbers, step)
        except Exception as error:
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        self._log = None
        warnings.warn(
            f"report_to={self.name!r}: {type(error).__name__}: {error}. The run goes on without it; metrics "
            "are in metrics.jsonl",
            RuntimeWarning,
            stacklevel=2,
        )


def _run_name(args: Any) -> str:
    return args.run_name or Path(args.output_dir).name


def _tensorboard(module: Any, args: Any, state: TrainerState) -> tuple[Callable, Callable]:
    folder = Path(args.output_dir) / "runs"
    writer = module.SummaryWriter(
        str(folder), purge_step=state.global_step + 1 if state.global_step else None
    )

    def log(numbers: dict[str, float], step: int) -> None:
        for name, value in numbers.items():
            writer.add_scalar(name, value, step)
        writer.flush()

    return log, writer.close


def _trackio(module: Any, args: Any, state: TrainerState) -> tuple[Callable, Callable]:
    project = os.environ.get("TRACKIO_PROJECT", PROJECT)
    module.init(project=project, name=_run_name(args), config=args.to_dict(), resume="allow")
    return lambda numbers, step: module.log(numbers, step=step), module.finish


def _wandb(module: Any, args: Any, state: TrainerState) -> tuple[Callable, Callable]:
    project = os.environ.get("WANDB_PROJECT", PROJECT)
    run = module.init(
        project=project, name=_run_name(args), config=args.to_dict(), dir=args.output_dir,
        id=os.environ.get("WANDB_RUN_ID"), resume="allow",
    )  # fmt: skip
    return lambda numbers, step: run.log(numbers, step=step), run.finish


_BACKENDS = {"tensorboard": _tensorboard, "trackio": _trackio, "wandb": _wandb}
