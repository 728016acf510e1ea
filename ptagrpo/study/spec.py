"""What a study is: a YAML file, checked. Its variants and seeds make cells; a cell is one training run."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .. import algorithms
from ..errors import ConfigError, did_you_mean
from ..training import GRPOConfig, PTAGRPOConfig
from ..yaml_file import YamlFile

BUDGETS = ("rollouts", "tokens", "seconds")
# What makes an algorithm the one it is: not to be set for all methods of a comparison at once.
IDENTITY = (
    "loss_type", "scale_rewards", "epsilon_high", "dynamic_sampling", "overlong_cache_fraction",
    "plan_reward_weight", "advantage_mode",
)  # fmt: skip
# What a study sets itself.
RESERVED = (
    "output_dir", "seed", "max_steps", "num_train_epochs", "logging_steps", "per_device_train_batch_size",
    "generation_batch_size", "steps_per_generation", "gradient_accumulation_steps", "num_generations",
)  # fmt: skip
COLD, BASE = "cold", "base"


@dataclasses.dataclass(frozen=True)
class Variant:
    """One thing that is compared: an algorithm with its options and the model it starts from.

    algorithm: None is the start itself, evaluated and not trained. start: "cold" (after the cold start) or
    "base" (before it). changes: options of this variant; they win over the study's `settings`.
    train_questions: how many different training questions it gets; None: the study's.
    """

    name: str
    algorithm: str | None
    changes: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    start: str = COLD
    train_questions: int | None = None

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[\w.=+-]+", self.name):
            raise ConfigError(
                f"study: the name {self.name!r} becomes a folder: letters, digits and . = + - _ only, please"
            )


@dataclasses.dataclass(frozen=True)
class StudySpec:
    """A study. Every field is a key of the YAML file.

    task: "chains" (built in) or "data" (a model and files). chains, data: settings of the task, see
        `chains_task.ChainsSettings` and `data_task.DataSettings`.
    seeds: how many, from 0 on. A seed decides the start (chains), the training questions and all draws.
    budget: what all methods get alike: "rollouts" (responses sampled, those that dynamic sampling dropped
        included), "tokens" (sampled, and through forward and backward, shared ones once) or "seconds" of
        training. rollouts, tokens, seconds: how much of it.
    questions_per_rollout, steps_per_rollout: size of a rollout, and optimizer steps made of it.
    train_questions: different training questions; None: as many as the rollouts take, each once.
    test_questions, eval_samples: held-out questions, the same for all seeds, and responses to each.
    eval_temperature, eval_top_p: of these responses.
    settings: training options of all methods. methods: further methods by name, {algorithm, options}.
    """

    output_dir: str = "study_output"
    task: str = "chains"
    chains: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    data: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    seeds: int = 3
    budget: str = "rollouts"
    rollouts: int = 30
    tokens: int | None = None
    seconds: float | None = None
    questions_per_rollout: int = 16
    steps_per_rollout: int = 2
    train_questions: int | None = None
    test_questions: int = 500
    eval_samples: int = 4
    eval_temperature: float = 1.0
    eval_top_p: float = 1.0
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    methods: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("seeds", "rollouts", "questions_per_rollout", "steps_per_rollout", "test_questions",
                     "eval_samples", "train_questions", "tokens"):  # fmt: skip
            value = getattr(self, name)
            if name in ("train_questions", "tokens") and value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ConfigError(f"study: {name}: expected a whole number of at least 1, got {value!r}")
        if self.seconds is not None and not (is_number(self.seconds) and self.seconds > 0):
            raise ConfigError(f"study: seconds: expected a positive number, got {self.seconds!r}")
        for name, choices in (("task", ("chains", "data")), ("budget", BUDGETS)):
            value = getattr(self, name)
            if value not in choices:
                raise ConfigError(
                    f"study: {name}: got {value!r}, expected one of {', '.join(choices)}."
                    f"{did_you_mean(str(value), choices)}"
                )
        if not isinstance(self.output_dir, str) or not self.output_dir:
            raise ConfigError(f"study: output_dir: expected a folder, got {self.output_dir!r}")
        for name, highest in (("eval_temperature", math.inf), ("eval_top_p", 1.0)):
            value = getattr(self, name)
            if not is_number(value) or not 0.0 <= value <= highest:
                raise ConfigError(f"study: {name}: expected a number from 0 to {highest:g}, got {value!r}")
        if getattr(self, self.budget) is None:
            raise ConfigError(
                f"study: budget '{self.budget}' needs an amount: set {self.budget} in the file, or --amount"
            )
        for name in ("chains", "data", "settings", "methods"):
            if not isinstance(getattr(self, name), Mapping):
                raise ConfigError(f"study: {name}: expected a mapping, got {getattr(self, name)!r}")
        check_options("settings", self.settings)
        for name, method in self.methods.items():
            if not isinstance(method, Mapping):
                raise ConfigError(f"study: methods: {name}: expected a mapping of options, got {method!r}")
            check_options(f"methods: {name}", {k: v for k, v in method.items() if k != "algorithm"})

    @classmethod
    def from_yaml(cls, path: str | Path, *, amount: float | None = None, **overrides: Any) -> StudySpec:
        """Read a study; overrides that are not None win. `amount` is of the budget, whichever it is.

        Raises:
            ConfigError: not readable, an unknown key (with a suggestion) or a value out of range; names the
                file.
        """
        file = YamlFile(path)
        values = file.values
        known = [field.name for field in dataclasses.fields(cls)]
        for name in values:
            if name not in known:
                raise ConfigError(f"{file.where(name)}: there is no key {name!r}.{did_you_mean(name, known)}")
        values |= {k: v for k, v in overrides.items() if v is not None}
        if amount is not None:
            unit = values.get("budget", "rollouts")
            values[unit if unit in BUDGETS else "rollouts"] = amount if unit == "seconds" else int(amount)
        try:
            return cls(**values)
        except ConfigError as error:
            raise ConfigError(f"{path}: {error}") from error

    @property
    def amount(self) -> float:
        """How much of the budget every run gets."""
        return getattr(self, self.budget)

    def method(self, name: str) -> Variant:
        """The variant of a method: one that the file defines, or an algorithm by its name."""
        if name == "start":
            raise ConfigError("study: 'start' is the model before training; give the method another name")
        if name in self.methods:
            options = dict(self.methods[name])
            algorithm = str(options.pop("algorithm", name))
            if algorithm not in algorithms.names():
                raise ConfigError(
                    f"study: methods: {name}: algorithm: got {algorithm!r}, expected one of "
                    f"{', '.join(algorithms.names())}.{did_you_mean(algorithm, algorithms.names())}"
                )
            return Variant(name, algorithm, options)
        known = [*self.methods, *algorithms.names()]
        if name not in algorithms.names():
            raise ConfigError(
                f"there is no method {name!r}; there are {', '.join(known)}.{did_you_mean(name, known)}"
            )
        return Variant(name, name)


def is_number(value: Any) -> bool:
    """Whether it is a finite number; True and False are none.

    >>> [is_number(value) for value in (1, 0.5, True, "1", float("nan"))]
    [True, True, False, False, False]
    """
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def check_options(where: str, options: Mapping[str, Any]) -> None:
    """Refuse options that the study sets itself, and unknown ones; `where` names the place.

    Raises:
        ConfigError: with a suggestion.
    """
    known = {**GRPOConfig.options(), **PTAGRPOConfig.options()}
    for name in options:
        if name in RESERVED:
            raise ConfigError(
                f"study: {where}: {name!r} is set by the study itself (seeds, budget, questions_per_rollout, "
                "steps_per_rollout, settings: num_plans, cots_per_plan)"
            )
        if name not in known:
            raise ConfigError(f"study: {where}: there is no option {name!r}.{did_you_mean(name, known)}")


def check_fair(spec: StudySpec, variants: list[Variant]) -> None:
    """Refuse settings for all that would turn one algorithm into another.

    Raises:
        ConfigError: names the option, and what each algorithm has there.
    """
    used = sorted({variant.algorithm for variant in variants if variant.algorithm is not None})
    for name in IDENTITY:
        defaults = {algorithm: algorithms.load(algorithm).defaults.get(name) for algorithm in used}
        if name in spec.settings and len({repr(value) for value in defaults.values()}) > 1:
            listed = ", ".join(f"{algorithm}: {value!r}" for algorithm, value in defaults.items())
            raise ConfigError(
                f"study: settings: {name} is part of what the methods are ({listed}); set it for a method of "
                "its own under `methods`"
            )


def configuration(
    spec: StudySpec, variant: Variant, folder: Path, seed: int, task_settings: Mapping[str, Any]
) -> GRPOConfig:
    """The training configuration of a cell: task's settings, then the study's, then the variant's own.

    A flat method gets N = num_plans x cots_per_plan responses to a question, as many as the trees have.

    Raises:
        ConfigError: an option out of range; a schedule that needs to know the number of steps under a budget
            that does not tell it.
    """
    from ..training.schedule import depends_on_total

    options = {**task_settings, **spec.settings, **variant.changes}
    tree = algorithms.load(variant.algorithm).tree
    defaults = algorithms.load("pta_grpo").defaults
    names = ("num_plans", "cots_per_plan")
    read = PTAGRPOConfig._prepare({name: options.get(name, defaults[name]) for name in names})
    plans, chains = (read[name] for name in names)
    if min(plans, chains) < 1:
        raise ConfigError(f"study: {variant.name}: num_plans {plans} x cots_per_plan {chains}: both must be positive")
    responses = plans * chains
    config_class = PTAGRPOConfig if tree else GRPOConfig
    if not tree:
        options = {name: value for name, value in options.items() if name in GRPOConfig.options()}
        options["num_generations"] = responses
    rollout = spec.questions_per_rollout * responses
    if rollout % (spec.steps_per_rollout * responses):
        raise ConfigError(
            f"study: questions_per_rollout ({spec.questions_per_rollout}) must be a multiple of "
            f"steps_per_rollout ({spec.steps_per_rollout})"
        )
    steps = spec.rollouts * spec.steps_per_rollout if spec.budget == "rollouts" else 1_000_000
    config = config_class(**{
        "save_steps": 20,
        "disable_tqdm": True,
        **options,
        "algorithm": variant.algorithm,
        "output_dir": str(folder),
        "seed": seed,
        "max_steps": steps * int(options.get("num_iterations", 1)),
        "per_device_train_batch_size": rollout // spec.steps_per_rollout,
        "steps_per_generation": spec.steps_per_rollout,
        "logging_steps": 1,
        "save_total_limit": 1,
    })  # fmt: skip
    if spec.budget != "rollouts" and depends_on_total(config):
        raise ConfigError(
            f"study: a budget of {spec.budget} does not say how many steps there will be, which the "
            f"'{config.lr_scheduler_type}' schedule needs to know; set lr_scheduler_type: constant (or "
            "constant_with_warmup with warmup_steps)"
        )
    return config
