"""The options that both stages share, and what contradicts what among them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import ClassVar

from ..errors import ConfigError
from . import not_yet, reporting
from .options import Config, option

SCHEDULERS = ("constant", "constant_with_warmup", "linear", "cosine", "cosine_with_min_lr")
PROMPT_STYLES = ("plan", "cot", "raw")


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingConfig(Config):
    """What both stages share."""

    output_dir: str = option(
        "trainer_output", "folder of the run: checkpoints, metrics.jsonl, completions", trajectory=False
    )
    overwrite_output_dir: bool = option(
        False, "start anew although output_dir holds checkpoints; deletes them", trajectory=False
    )
    run_name: str | None = option(
        None, "label of the progress bar; default: the name of output_dir", trajectory=False
    )
    seed: int = option(42, "seed of data order and sampling", at_least=0)
    learning_rate: float = option(2e-5, "peak learning rate", at_least=0.0)
    lr_scheduler_type: str = option(
        "linear", "how the learning rate falls after the warm-up", choices=SCHEDULERS
    )
    lr_scheduler_kwargs: dict | None = option(
        {},
        "min_lr_rate (share of the peak) or min_lr (absolute): where linear and "
        "cosine end; num_cycles of cosine",
    )
    warmup_ratio: float = option(
        0.0, "share of all steps over which the learning rate rises from 0", at_least=0.0, at_most=1.0
    )
    warmup_steps: float = option(
        0, "steps of warm-up, or below 1 their share of all steps; wins over warmup_ratio", at_least=0.0
    )
    weight_decay: float = option(0.0, "decoupled weight decay of AdamW, on matrices only", at_least=0.0)
    adam_beta1: float = option(0.9, "decay of AdamW's first moment", at_least=0.0, below=1.0)
    adam_beta2: float = option(0.999, "decay of AdamW's second moment", at_least=0.0, below=1.0)
    adam_epsilon: float = option(1e-8, "epsilon of AdamW", above=0.0)
    max_grad_norm: float = option(
        1.0, "gradients are scaled down to this global norm; 0: no clipping", at_least=0.0
    )
    num_train_epochs: float = option(3.0, "passes over the data, unless max_steps is given", above=0.0)
    max_steps: int = option(-1, "optimizer steps; -1: as many as num_train_epochs takes", at_least=-1)
    per_device_train_batch_size: int = option(8, "rows (SFT) or responses (RL) of a micro-step", at_least=1)
    gradient_accumulation_steps: int = option(
        1, "micro-steps whose gradients add up to one optimizer step", at_least=1
    )
    bf16: bool | None = option(
        None,
        "True: working weights and activations in bfloat16 (sums, master weights and moments in float32); "
        "None: as the model was loaded, float32 for a path",
    )
    use_peft: bool = option(
        False, "train a LoRA adapter beside frozen weights (the trainers' peft_config does too)"
    )
    lora_r: int = option(16, "rank of the adapter", at_least=1)
    lora_alpha: float = option(32, "scale of the adapter, divided by lora_r")
    lora_dropout: float = option(
        0.0,
        "probability with which a training step leaves an element of an adapter's input out",
        at_least=0.0,
        below=1.0,
    )
    disable_dropout: bool = option(False, "train without the adapter's dropout, whatever its configuration says")
    lora_target_modules: list | None = option(
        None, "projections to adapt, such as [q_proj, v_proj] (which None is), or [all-linear]"
    )
    use_rslora: bool = option(False, "divide lora_alpha by the root of lora_r instead")
    freeze_vision_tower: bool = option(
        True, "of a model that sees images: train the language model alone, not what looks at images"
    )
    load_in_8bit: bool = option(
        False, "frozen weights as int8 (a model given by path or hub id; with an adapter)"
    )
    load_in_4bit: bool = option(
        False, "frozen weights as int4 (a model given by path or hub id; with an adapter)"
    )
    max_memory: str | None = option(
        None,
        "memory that the process may take, such as '12GiB' or '50%' of the machine's; None: 80 % of what is "
        "free at the start. Decides max_tokens_per_micro_batch and gradient_checkpointing where they are None",
        trajectory=False,
    )
    max_tokens_per_micro_batch: int | None = option(
        None,
        "tokens of one forward and backward at most; a row or group that is longer goes alone. None: as "
        "max_memory allows, 16384 at most",
        at_least=1,
    )
    gradient_checkpointing: bool | None = option(
        None,
        "keep only the layers' inputs and compute the rest again in backward, to the same bits; None: where "
        "max_memory asks for it",
        trajectory=False,
    )
    shuffle_dataset: bool = option(True, "new order of the rows in each epoch, drawn from (seed, epoch)")
    logging_steps: int = option(
        10, "write metrics, averaged, every so many steps", at_least=1, trajectory=False
    )
    logging_first_step: bool = option(False, "write metrics of the first step too", trajectory=False)
    save_strategy: str = option(
        "steps", "write checkpoints by steps or not at all", choices=("steps", "no"), trajectory=False
    )
    save_steps: int = option(
        500, "write a checkpoint every so many steps, and one at the end", at_least=1, trajectory=False
    )
    save_total_limit: int | None = option(
        None, "keep this many checkpoints, the newest; None: all", at_least=1, trajectory=False
    )
    save_only_model: bool = option(
        False,
        "checkpoints without the optimizer: smaller, but a run cannot go on from them",
        trajectory=False,
    )
    eval_strategy: str = option("no", "evaluate during training", choices=("no", "steps"), trajectory=False)
    eval_steps: int | None = option(
        None, "evaluate every so many steps; None: logging_steps", at_least=1, trajectory=False
    )
    per_device_eval_batch_size: int = option(8, "rows of an evaluation batch", at_least=1, trajectory=False)
    eval_on_start: bool = option(False, "evaluate once before the first step", trajectory=False)
    eval_delay: float = option(
        0, "no periodic evaluation before so many steps", at_least=0.0, trajectory=False
    )
    load_best_model_at_end: bool = option(
        False,
        "write a checkpoint whenever an evaluation is the best so far, keep it, and leave its weights in the policy "
        "at the end",
        trajectory=False,
    )
    metric_for_best_model: str | None = option(
        None,
        "evaluation metric that decides which model is best (eval_ is put before it); None: loss (SFT), reward (RL)",
        trajectory=False,
    )
    greater_is_better: bool | None = option(
        None, "whether more of that metric is better; None: unless its name ends in loss", trajectory=False
    )
    model_init_kwargs: dict | None = option(
        None, "how a model given by path or hub id is loaded: dtype, revision, cache_dir, local_files_only"
    )
    push_to_hub: bool = option(False, "upload the model to the hub (huggingface_hub)", trajectory=False)
    hub_model_id: str | None = option(
        None, "repository to upload to; None: the name of output_dir, under your account", trajectory=False
    )
    hub_strategy: str = option(
        "every_save",
        "upload the model at the end only, or at every checkpoint too",
        choices=("every_save", "end"),
        trajectory=False,
    )
    hub_private_repo: bool | None = option(
        None, "whether a repository that is made is private; None: the account's default", trajectory=False
    )
    hub_revision: str | None = option(None, "branch to upload to; None: main", trajectory=False)
    disable_tqdm: bool | None = option(False, "no progress bar", trajectory=False)
    report_to: str | list | None = option(
        "none",
        "send metrics, beside metrics.jsonl, to tensorboard, trackio, wandb: one, a list, 'all' that are "
        "installed, or 'none'",
        trajectory=False,
    )
    prompt_style: str = option(
        "plan",
        "how a question becomes a prompt: asking for plan, reasoning and answer "
        "('plan'), for reasoning ('cot'), or as the data set has it ('raw')",
        choices=PROMPT_STYLES,
    )

    contamination: str = option(
        "auto",
        "compare the training questions with the benchmarks and write contamination.json; 'drop' leaves "
        "contaminated rows out; 'auto' checks the data sets of the hub and not your own",
        choices=("auto", "check", "drop", "off"),
        trajectory=False,
    )

    _not_yet: ClassVar[Mapping[str, not_yet.NotYet]] = not_yet.COMMON
    _best_metric: ClassVar[str] = "eval_loss"

    def __post_init__(self) -> None:
        if self.lr_scheduler_kwargs is None:
            object.__setattr__(self, "lr_scheduler_kwargs", {})
        self._check_ranges()
        self._check_best_model()
        self._check_model_init()
        reporting.backend_names(self.report_to, f"{type(self).__name__}: report_to")
        if self.max_steps == 0:
            raise ConfigError(
                f"{type(self).__name__}: max_steps: got 0, must be positive, or -1 for num_train_epochs"
            )
        if self.warmup_steps >= 1 and self.warmup_steps != int(self.warmup_steps):
            raise ConfigError(
                f"{type(self).__name__}: warmup_steps: got {self.warmup_steps}, must be a whole number, or below 1"
            )
        if self.lr_scheduler_type == "constant" and (self.warmup_ratio or self.warmup_steps):
            raise ConfigError(
                f"{type(self).__name__}: the 'constant' schedule has no warm-up; use "
                "lr_scheduler_type='constant_with_warmup'"
            )
        allowed = {
            "linear": ("min_lr_rate", "min_lr"),
            "cosine": ("min_lr_rate", "min_lr", "num_cycles"),
            "cosine_with_min_lr": ("min_lr_rate", "min_lr", "num_cycles"),
        }.get(self.lr_scheduler_type, ())
        for name in self.lr_scheduler_kwargs:
            if name not in allowed:
                raise ConfigError(
                    f"{type(self).__name__}: lr_scheduler_kwargs: {name!r} means nothing to the "
                    f"{self.lr_scheduler_type!r} schedule; it takes {', '.join(allowed) or 'none'}"
                )
        if "min_lr" in self.lr_scheduler_kwargs and "min_lr_rate" in self.lr_scheduler_kwargs:
            raise ConfigError(
                f"{type(self).__name__}: lr_scheduler_kwargs: give min_lr or min_lr_rate, not both"
            )
        if self.lr_scheduler_type == "cosine_with_min_lr" and not {"min_lr", "min_lr_rate"} & {
            *self.lr_scheduler_kwargs
        }:
            raise ConfigError(
                f"{type(self).__name__}: 'cosine_with_min_lr' needs min_lr or min_lr_rate in "
                "lr_scheduler_kwargs"
            )
        for name, value in self.lr_scheduler_kwargs.items():
            try:
                number = float(value)
            except (TypeError, ValueError):
                number = -1.0
            limit = {"min_lr_rate": 1.0, "min_lr": self.learning_rate}.get(name, float("inf"))
            if isinstance(value, bool) or not 0.0 <= number <= limit:
                raise ConfigError(
                    f"{type(self).__name__}: lr_scheduler_kwargs: {name}: got {value!r}, must be a "
                    f"number from 0 to {limit}"
                )
            self.lr_scheduler_kwargs[name] = number

    @property
    def best_metric(self) -> str:
        """Name of the evaluation metric that decides which model is best."""
        name = self.metric_for_best_model or self._best_metric
        return name if name.startswith("eval_") else f"eval_{name}"

    @property
    def best_is_greatest(self) -> bool:
        """Whether a greater value of that metric is better."""
        return (
            not self.best_metric.endswith("loss")
            if self.greater_is_better is None
            else self.greater_is_better
        )

    def _check_best_model(self) -> None:
        if self.load_best_model_at_end and self.eval_strategy == "no":
            raise ConfigError(
                f"{type(self).__name__}: load_best_model_at_end needs evaluations to compare: set eval_strategy='steps'"
            )
        if self.load_best_model_at_end or self.metric_for_best_model:  # callbacks of transformers read them
            object.__setattr__(self, "metric_for_best_model", self.best_metric)
            object.__setattr__(self, "greater_is_better", self.best_is_greatest)

    def _check_model_init(self) -> None:
        allowed = ("dtype", "torch_dtype", "revision", "cache_dir", "local_files_only")
        for name in self.model_init_kwargs or ():
            if name not in allowed:
                raise ConfigError(
                    f"{type(self).__name__}: model_init_kwargs: {name!r} is not supported; it takes "
                    f"{', '.join(allowed)}"
                )
        if self.model_init_dtype not in (None, "float32", "bfloat16"):
            raise ConfigError(
                f"{type(self).__name__}: model_init_kwargs: dtype: got {self.model_init_dtype!r}, expected 'float32', "
                "'bfloat16' or 'auto'"
            )

    @property
    def model_init_dtype(self) -> str | None:
        """dtype of `model_init_kwargs`; None: not given, or "auto"."""
        given = self.model_init_kwargs or {}
        name = str(given.get("dtype", given.get("torch_dtype"))).removeprefix("torch.")
        return None if name in ("None", "auto") else name
