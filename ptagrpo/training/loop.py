"""The loop that both stages share: steps, schedule, metrics, checkpoints, resume, signals. What a step
computes is the business of `sft.py` and `rl.py`.

A step is: gradients (may fail or be interrupted at any point, changes nothing but the gradient buffers),
then a commit in which no signal interferes (AdamW, step counter, data position, metrics row), then
callbacks, evaluation and checkpoint. So at any instant the state in memory is that of the last completed
step, and it is what an interrupt saves.
"""

from __future__ import annotations

import contextlib
import json
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from tqdm.auto import tqdm

from .. import _core, rng
from ..data import screen
from ..errors import CheckpointError, ConfigError
from ..policy import Policy
from . import best_model, checkpointing, fingerprints, hub, reporting, run_record, schedule, step_files
from .callbacks import CallbackList, ProgressBar, TrainerControl, TrainerState
from .config_common import TrainingConfig
from .interrupts import SignalGuard
from .memory import MemoryPlan
from .metrics import MetricsLog, Window
from .model_arguments import refuse_arguments, take_model
from .run_store import RunStore, verify


class TrainOutput(NamedTuple):
    """What `train` returns: completed steps, mean loss over the steps of this call, and the last metrics
    row.
    """

    global_step: int
    training_loss: float
    metrics: dict[str, Any]


@dataclass
class StepResult:
    """What computing the gradients of one step has to say. tokens: through forward and backward."""

    metrics: dict[str, float]
    tokens: int
    live: dict[str, float] = field(default_factory=dict)
    timings: dict[str, float] = field(default_factory=dict)


class Trainer:
    """Base of the trainers.

    Args:
        model: a Policy (trained in place), or a path or hub id to load one from.
        args: the configuration.
        callbacks: objects or classes with methods of `callbacks.TrainerCallback`.
        processing_class: a tokenizer to use instead of the model's own, ours or one of transformers.
        peft_config: a LoraConfig, ours or PEFT's: train an adapter instead of the weights. None: as the options
            use_peft and lora_... say. A policy that has an adapter is trained as it is.
        others: arguments of TRL's trainers that this one refuses unless they say nothing.

    Attributes:
        policy: what is trained. state, control: see `callbacks`. optimizer: the `_core.AdamW`.
    """

    config_class: type[TrainingConfig] = TrainingConfig

    def __init__(
        self,
        model: Policy | str | Path,
        args: TrainingConfig | None,
        callbacks: Sequence[Any] | None = None,
        processing_class: Any = None,
        peft_config: Any = None,
        **others: Any,
    ):
        refuse_arguments(type(self).__name__, others)
        self.args = self.config_class() if args is None else args
        if not isinstance(self.args, self.config_class):
            raise ConfigError(
                f"{type(self).__name__}: args: expected {self.config_class.__name__}, got "
                f"{type(self.args).__name__}"
            )
        self.policy = take_model(type(self).__name__, model, self.args, processing_class, peft_config)
        if self.policy.config.vision is not None and not self.policy.model.adapter:
            self.policy.model.train_tower(not self.args.freeze_vision_tower)
        self.optimizer = _core.AdamW(
            self.policy.model, self.args.adam_beta1, self.args.adam_beta2, self.args.adam_epsilon
        )
        self.state = TrainerState()
        self.control = TrainerControl()
        self._bar = ProgressBar()
        self._reporters = reporting.reporters(self.args.report_to)
        pushes = [hub.HubPush(self.args)] if self.args.push_to_hub else []
        self._callbacks = CallbackList([*(callbacks or ()), *pushes, *self._reporters, self._bar])
        self._window = Window()
        self._guard = SignalGuard()
        self._saved_step = -1
        self._evaluated_step = -1
        self._run_identity: dict[str, Any] = {}
        self._log = MetricsLog(self.args.output_dir)
        self._memory = MemoryPlan(self.policy.model, self.args)

    def _screen(self, rows: list[Any], source: Any) -> list[Any]:
        """The rows to train on, once they are compared with the benchmarks (setting `contamination`)."""
        shown = not self.args.disable_tqdm
        return screen(
            rows,
            source,
            self.args.contamination,
            folder=self.args.output_dir,
            progress=shown,
            say=tqdm.write if shown else None,
        )

    # What a stage provides.

    def _total_steps(self) -> int:
        raise NotImplementedError

    def _epoch(self) -> float:
        """Passes over the data after the completed steps."""
        raise NotImplementedError

    def _compute_gradients(self) -> StepResult:
        """Accumulate the gradients of the next step; change no state that a checkpoint holds."""
        raise NotImplementedError

    def _advance(self) -> None:
        """Move the data position past the step that has just been taken. Must not fail."""

    def _identity(self) -> dict[str, Any]:
        """What must be the same when a run is resumed."""
        identity = {
            "settings": {"trainer": type(self).__name__, **self.args.trajectory()},
            "tokenizer": self.policy.tokenizer.fingerprint(),
            "model": self.policy.config.to_dict(),
            "environment": fingerprints.environment(),
        }
        if self.policy.lora_config is not None:  # a checkpoint has the adapter alone
            adapter = {**self.policy.lora_config.to_dict(), "base_model_name_or_path": None}
            identity |= {"adapter": adapter, "base_weights": fingerprints.weights_fingerprint(self.policy)}
        return identity

    def _write_extra(self, folder: Path) -> dict[str, Any]:
        """Write further files into a checkpoint; return what goes into its state."""
        return {}

    def _read_extra(self, folder: Path, private: Mapping[str, Any]) -> None:
        """Take over what `_write_extra` wrote."""

    def _resources(self) -> contextlib.AbstractContextManager:
        """Entered while training and evaluating."""
        return contextlib.nullcontext()

    def evaluate(self, eval_dataset: Any = None, *, metric_key_prefix: str = "eval") -> dict[str, float]:
        """Metrics of the evaluation data, or of other data of the same kind, with the prefix and "_" before names.

        Raises:
            ConfigError: there is neither eval_dataset.
        """
        raise NotImplementedError

    # What the user calls.

    def train(self, resume_from_checkpoint: bool | str | Path | None = None) -> TrainOutput:
        """Train to the end, from the start or from a checkpoint.

        Args:
            resume_from_checkpoint: "auto" goes on from the newest checkpoint of output_dir whose checksums
                hold, or starts anew where there is none; True does too but refuses to start anew; a path
                names a checkpoint; None or False starts anew.

        Raises:
            ConfigError: starting anew in an output_dir with checkpoints, without overwrite_output_dir.
            ResumeError: data, tokenizer, seed or settings are not those of the checkpoint.
            CheckpointError: no usable checkpoint, or one could not be written (training stops; weights are
                kept).
            FloatingPointError: a gradient is not finite (weights are those of the step before).
            KeyboardInterrupt, SystemExit: on SIGINT and SIGTERM, after the last completed step has been
                saved.
        """
        self.control = TrainerControl()
        with RunStore(self.args.output_dir) as store, self._resources(), self._guard:
            self._start(store, resume_from_checkpoint)
            try:
                return self._run(store)
            except CheckpointError:
                raise
            except BaseException as error:
                self._save_on_the_way_out(store, error)
                raise
            finally:
                self._zero_gradients()
                self._bar.close()
                for reporter in self._reporters:
                    reporter.close()

    def save_model(self, path: str | Path | None = None) -> Path:
        """Write the model as a Hugging Face folder; default: output_dir itself."""
        return self.policy.save(self.args.output_dir if path is None else path)

    def push_to_hub(self, commit_message: str = "End of training", **options: Any) -> str:
        """Upload the model as it is now (`hub_model_id`, ...; see `hub.push`). Returns the address.

        Raises:
            CheckpointError: the hub does not take it.
        """
        return hub.push(self.policy, self.args, commit_message, **options)

    @property
    def model(self) -> Policy:
        """TRL's name of `policy`."""
        return self.policy

    @property
    def processing_class(self) -> Any:
        """TRL's name of the policy's tokenizer."""
        return self.policy.tokenizer

    # The machinery.

    def _dropout_key(self, number: int) -> int | None:
        """What the masks of micro-batch `number` of the next step are drawn from; None: there is no dropout."""
        config = self.policy.lora_config
        if config is None or not config.lora_dropout or self.args.disable_dropout:
            return None
        return rng.key(self.args.seed, "lora_dropout", self.state.global_step, number)

    def _start(self, store: RunStore, resume: bool | str | Path | None) -> None:
        folder = self._find_checkpoint(store, resume)
        self._run_identity = json.loads(json.dumps(self._identity()))
        self._window = Window()
        self._saved_step = self._evaluated_step = -1
        if folder is None:
            if store.steps():
                if not self.args.overwrite_output_dir:
                    raise ConfigError(
                        f"output_dir {self.args.output_dir!r} holds checkpoints of an earlier run: pass "
                        'resume_from_checkpoint="auto" to go on with it, overwrite_output_dir=True to delete '
                        "them, or "
                        "another output_dir"
                    )
                store.clear()
            self.state = TrainerState()
            checkpointing.reset(self.optimizer)
            self._read_extra(store.root, {})
        else:
            self._restore(folder)
        self.state.max_steps = self._total_steps()
        self.state.num_train_epochs = max(1, round(self.args.num_train_epochs))
        self._log.rebuild(self.state.log_history)
        self._drop_later_files(store.root)
        run_record.write(store.root, type(self).__name__, self.args, self.policy, self.state.global_step)

    def _find_checkpoint(self, store: RunStore, resume: bool | str | Path | None) -> Path | None:
        if resume is None or resume is False:
            return None
        if resume is True or resume == "auto":
            folder = store.latest()
            if folder is None and (resume is True or store.steps()):
                raise CheckpointError(f"{self.args.output_dir}: there is no usable checkpoint to resume from")
            return folder
        verify(resume)
        return Path(resume)

    def _restore(self, folder: Path) -> None:
        state, private = checkpointing.read_state(folder)
        free = () if schedule.depends_on_total(self.args) else ("max_steps", "num_train_epochs")
        fingerprints.check_resume(private["identity"], self._run_identity, may_change=free, where=str(folder))
        checkpointing.load(folder, self.policy, self.optimizer, private["optimizer_step"])
        self._memory.restore(private.get("micro_batch_tokens"))
        self._read_extra(folder, private)
        self.state = state
        self._window.restore(private["window"])
        self._evaluated_step = private["evaluated_step"]
        if folder.resolve().parent == Path(self.args.output_dir).resolve():
            self._saved_step = state.global_step

    def _run(self, store: RunStore) -> TrainOutput:
        losses: list[float] = []
        self._event("on_train_begin")
        if self.args.eval_on_start and not self.state.global_step:
            self.control.should_evaluate = True
        self._evaluate_if_due()
        self._save_if_asked(store)
        while self.state.global_step < self.state.max_steps and not self.control.should_training_stop:
            losses.append(self._step())
            self._event("on_step_end")
            self._guard.check()
            self._after_step(store)
        if self.args.save_strategy != "no":
            self._save(store)
        if self.args.load_best_model_at_end:
            best_model.load(self.policy, self.state, store)
            self._saved_step = (
                self.state.global_step
            )  # from here on the weights are not those of the last step
        self._event("on_train_end")
        last = self.state.log_history[-1] if self.state.log_history else {}
        return TrainOutput(self.state.global_step, sum(losses) / len(losses) if losses else 0.0, dict(last))

    def _step(self) -> float:
        began = time.perf_counter()
        self._event("on_step_begin")
        args, step = self.args, self.state.global_step
        self.policy.model.zero_grad()
        result = self._compute_gradients()
        self._guard.check()
        with self._guard.shield():
            rate = schedule.learning_rate(args, step, self.state.max_steps)
            try:
                norm = self.optimizer.step(rate, args.weight_decay, args.max_grad_norm, zero_grad=True)
            except FloatingPointError as error:
                raise FloatingPointError(
                    f"step {step + 1}: {error}. The weights are those after step {step}; try a lower "
                    "learning_rate "
                    "or a smaller max_grad_norm, and look at the rewards and the data of this step"
                ) from error
            self._advance()
            self.state.global_step = step + 1
            self.state.epoch = self._epoch()
            self.state.num_input_tokens_seen += result.tokens
            self._window.add({**result.metrics, "grad_norm": norm, "learning_rate": rate})
            self._bar.live = result.live or {"loss": result.metrics["loss"]}
            seconds = time.perf_counter() - began
            first = args.logging_first_step and not step
            if first or self._is_due(args.logging_steps) or step + 1 == self.state.max_steps:
                self._write_row(self._window.pop())
            self._log.append_timing({"step": step + 1, "step_time": seconds, **result.timings})
        return result.metrics["loss"]

    def _is_due(self, every: int) -> bool:
        return self.state.global_step % every == 0

    def _write_row(self, metrics: Mapping[str, float]) -> None:
        state = self.state
        row = {
            "step": state.global_step,
            "epoch": state.epoch,
            "num_tokens": state.num_input_tokens_seen,
            **metrics,
        }
        state.log_history.append(row)
        self._log.append(row)
        self.control.should_log = True

    def _after_step(self, store: RunStore) -> None:
        args, control, state = self.args, self.control, self.state
        if control.should_log:
            control.should_log = False
            self._event("on_log", logs=dict(state.log_history[-1]))
        self._evaluate_if_due()
        control.should_save |= args.save_strategy == "steps" and self._is_due(args.save_steps)
        self._save_if_asked(store)

    def _save_if_asked(self, store: RunStore) -> None:
        if self.control.should_save:
            self.control.should_save = False
            self._save(store)

    def _evaluate_if_due(self) -> None:
        """Evaluate after the completed step if it is time; also when a run was stopped between step and
        evaluation.
        """
        args, control, step = self.args, self.control, self.state.global_step
        periodic = (
            args.eval_strategy == "steps"
            and step
            and step >= args.eval_delay
            and self._is_due(args.eval_steps or args.logging_steps)
        )
        if step == self._evaluated_step or not (periodic or control.should_evaluate):
            return
        control.should_evaluate = False
        metrics = self.evaluate()
        with self._guard.shield():
            self._evaluated_step = step
            self._write_row(metrics)
            control.should_log = False
        self._event("on_evaluate", metrics=metrics)
        if step and best_model.note(args, self.state, metrics):
            control.should_save |= args.load_best_model_at_end

    def _save(self, store: RunStore) -> None:
        """Write the checkpoint of the completed steps, unless it is there, and delete surplus ones."""
        step = self.state.global_step
        if step == self._saved_step:
            return
        with self._guard.shield():
            if step == self.state.best_global_step:
                self.state.best_model_checkpoint = str(store.path(step))
            path = store.save(step, self._write_checkpoint)
            self._saved_step = step
            keep = self.state.best_global_step if self.args.load_best_model_at_end else None
            store.rotate(step, self.args.save_total_limit, keep)
            self._event("on_save", checkpoint=path)

    def _write_checkpoint(self, folder: Path) -> None:
        private = {
            "identity": self._run_identity,
            "window": self._window.state(),
            "evaluated_step": self._evaluated_step,
            "micro_batch_tokens": self._memory.micro_batch_tokens,
            **self._write_extra(folder),
        }
        checkpointing.write(folder, self.policy, self.optimizer, self.state, self.args, private)

    def _save_on_the_way_out(self, store: RunStore, error: BaseException) -> None:
        if self.state.global_step == 0 and isinstance(error, Exception):
            return
        try:
            with contextlib.suppress(
                KeyboardInterrupt, SystemExit
            ):  # another signal while saving: already leaving
                self._save(store)
        except CheckpointError as problem:
            warnings.warn(
                f"while stopping for {type(error).__name__}: {problem}", RuntimeWarning, stacklevel=2
            )

    def _substep(self) -> None:
        """Between two micro-batches of a step."""
        self._event("on_substep_end")
        self._guard.check()

    def _event(self, event: str, **kwargs: Any) -> None:
        self._callbacks.call(event, self.args, self.state, self.control, model=self.policy, **kwargs)

    def _zero_gradients(self) -> None:
        with contextlib.suppress(RuntimeError):
            self.policy.model.zero_grad()

    def _drop_later_files(self, root: Path) -> None:
        """Remove per-step files of steps that a resumed (or new) run will do again."""
        for folder in step_files.FOLDERS:
            step_files.drop_after(root / folder, self.state.global_step)
