"""The configurations of both stages: SFTConfig, GRPOConfig, PTAGRPOConfig.

Names and meanings are those of TRL and of the Hugging Face Trainer where these have them; ours are added
beside them. One process, one CPU: "per device" means the whole batch of a micro-step. What the other trainers
have and these have not is refused by name (`not_yet.py`). Configurations are immutable: `config.replace(...)`
makes a changed copy.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

from .. import algorithms
from ..errors import ConfigError
from . import not_yet
from .config_common import PROMPT_STYLES, SCHEDULERS, TrainingConfig
from .options import option


@dataclasses.dataclass(frozen=True, kw_only=True)
class SFTConfig(TrainingConfig):
    """Stage 1, the cold start: log-likelihood of plan, reasoning and answer, the prompt masked (Eq. 1).

    The loss is the mean over all target tokens of the optimizer batch, whatever the micro-batches.
    """

    max_length: int | None = option(
        1024,
        "tokens of a row at most, prompt included; longer ones are cut at the end; None: no limit",
        at_least=2,
    )
    completion_only_loss: bool | None = option(
        True, "train on the completion alone, not on the prompt; None: the same"
    )
    dataset_text_field: str = option("text", "column of plain-text rows")

    _not_yet: ClassVar[Mapping[str, not_yet.NotYet]] = not_yet.SFT
    _best_metric: ClassVar[str] = "eval_loss"


@dataclasses.dataclass(frozen=True, kw_only=True)
class GRPOConfig(TrainingConfig):
    """Stage 2 on flat groups. `algorithm` sets the defaults of an algorithm (its file in
    `ptagrpo/algorithms`).

    An optimizer step takes per_device_train_batch_size x gradient_accumulation_steps responses, whole groups
    of num_generations. A rollout samples steps_per_generation micro-steps at once, so that it feeds
    steps_per_generation / gradient_accumulation_steps optimizer steps, num_iterations times over.
    """

    algorithm: str = option(
        "grpo",
        "algorithm whose defaults apply",
        choices=tuple(name for name in algorithms.names() if not algorithms.load(name).tree),
    )
    learning_rate: float = option(1e-6, "peak learning rate", at_least=0.0)
    lr_scheduler_type: str = option(
        "constant", "how the learning rate falls after the warm-up", choices=SCHEDULERS
    )
    weight_decay: float = option(0.01, "decoupled weight decay of AdamW, on matrices only", at_least=0.0)
    num_train_epochs: float = option(1.0, "passes over the questions, unless max_steps is given", above=0.0)
    prompt_style: str = option(
        "raw",
        "how a question becomes a prompt: asking for plan, reasoning and answer "
        "('plan'), for reasoning ('cot'), or as the data set has it ('raw')",
        choices=PROMPT_STYLES,
    )
    per_device_train_batch_size: int | None = option(
        None, "responses of a micro-step; None: num_generations", at_least=1
    )
    num_generations: int | None = option(None, "responses to a question", at_least=2)
    generation_batch_size: int | None = option(
        None, "responses of one rollout; None: per_device_train_batch_size x steps_per_generation", at_least=1
    )
    steps_per_generation: int | None = option(
        None, "micro-steps fed by one rollout; None: gradient_accumulation_steps", at_least=1
    )
    num_iterations: int = option(1, "how often a rollout is used", at_least=1)
    num_generations_eval: int | None = option(
        None, "responses to a question when evaluating; None: num_generations", at_least=1, trajectory=False
    )
    max_completion_length: int = option(512, "tokens of a response at most", at_least=1)
    temperature: float = option(
        1.0, "sampling temperature; the log-probabilities are taken under it", above=0.0
    )
    top_p: float = option(1.0, "nucleus sampling; 1: off", above=0.0, at_most=1.0)
    top_k: int = option(0, "sample among the k likeliest tokens; 0: off", at_least=0)
    min_p: float | None = option(
        0.0, "drop tokens below this share of the likeliest; 0: off", at_least=0.0, below=1.0
    )
    beta: float = option(
        0.0,
        "coefficient of the KL to the initial policy (k3 estimator); 0: no reference policy",
        at_least=0.0,
    )
    epsilon: float = option(0.2, "clipping range of the ratio", at_least=0.0)
    epsilon_high: float | None = option(None, "upper clipping range; None: epsilon", at_least=0.0)
    delta: float | None = option(
        None, "cap of the ratio where the advantage is negative; None: none", above=0.0
    )
    loss_type: str = option("dapo", "normalisation of the loss", choices=("grpo", "dapo", "dr_grpo", "sum"))
    scale_rewards: str = option(
        "group",
        "advantages divided by the standard deviation of the group, the batch, or by nothing",
        choices=("group", "batch", "none"),
    )
    std_correction: int = option(
        0, "0: population standard deviation (Eq. 10), 1: sample one", choices=(0, 1)
    )
    advantage_eps: float = option(0.0, "added to the standard deviation", at_least=0.0)
    advantage_mode: str = option(
        "group",
        "'group': a response against its group (Eq. 10); 'hierarchical': plan tokens against the other plans, "
        "chain tokens against the other chains of their plan (plan trees only)",
        choices=("group", "hierarchical"),
    )
    dynamic_sampling: bool = option(False, "replace groups that teach nothing by other questions")
    max_resample_times: int = option(
        3, "rounds of replacing at most; then groups that teach nothing fill the batch", at_least=1
    )
    mask_truncated_completions: bool = option(False, "give responses cut at max_completion_length no weight")
    reward_weights: list | None = option(None, "one weight per reward function; None: 1 each")
    outcome_reward: float | None = option(
        None,
        "weight of the right answer; None: 1, but 0 where GRPOTrainer was given reward functions",
        at_least=0.0,
    )
    use_plan_reward: bool = option(True, "False: no plan reward whatever its weight")
    plan_reward_weight: float = option(
        0.0, "weight of the plan reward (the paper's beta of Eq. 4)", at_least=0.0
    )
    plan_temperature: float = option(0.3, "tau of the softmax over plan scores (Eq. 2)", above=0.0)
    structure_reward: float = option(0.0, "reward for following the template strictly (Eq. 6)", at_least=0.0)
    length_reward_weight: float = option(0.0, "alpha of the length reward (Eq. 8)", at_least=0.0)
    length_reward_on: str = option("all", "responses that get the length reward", choices=("all", "correct"))
    overlong_cache_fraction: float = option(
        0.0,
        "last share of max_completion_length over which DAPO's punishment falls to -1; 0: off",
        at_least=0.0,
        at_most=1.0,
    )
    answer_kind: str = option(
        "math", "how answers are compared: math-verify or equal text", choices=("math", "exact")
    )
    judge_timeout: float = option(5.0, "seconds for one comparison of answers", above=0.0, trajectory=False)
    reward_timeout: float | None = option(
        60.0, "seconds for one call of a reward function; None: no limit", above=0.0, trajectory=False
    )
    log_completions: bool = option(
        False,
        "write completions/ for every rollout, and print a table of samples every logging_steps steps",
        trajectory=False,
    )
    num_completions_to_print: int | None = option(
        None, "rows of that table; None: every response of the rollout, 0: no table", at_least=0,
        trajectory=False,
    )  # fmt: skip
    log_unique_prompts: bool = option(False, "one row for each question in that table", trajectory=False)
    store_trees: bool = option(
        True, "write what every rollout sampled to trees/, for `ptagrpo view`", trajectory=False
    )
    store_limit_mb: float = option(
        256.0,
        "megabytes that trees/ and completions/ may take, each; beyond it steps are thinned out evenly",
        above=0.0,
        trajectory=False,
    )
    log_token_stats: bool = option(
        False, "store each token's log-probability, entropy and ratio in trees/ too", trajectory=False
    )

    _not_yet: ClassVar[Mapping[str, not_yet.NotYet]] = not_yet.RL
    _best_metric: ClassVar[str] = "eval_reward"

    @classmethod
    def _prepare(cls, settings: dict[str, Any]) -> dict[str, Any]:
        if isinstance(settings.get("scale_rewards"), bool):  # TRL's older spelling
            settings = {**settings, "scale_rewards": "group" if settings["scale_rewards"] else "none"}
        prepared = super()._prepare(settings)
        name = prepared.get("algorithm", cls.options()["algorithm"].default)
        choices = cls.options()["algorithm"].metadata["choices"]
        defaults = algorithms.load(name).defaults if name in choices else {}
        return {**{key: value for key, value in defaults.items() if key in cls.options()}, **prepared}

    def __post_init__(self) -> None:
        self._derive()
        super().__post_init__()
        self._check_batch()
        self._check_advantage_mode()
        if self.reward_weights is not None:
            for weight in self.reward_weights:
                if isinstance(weight, bool) or not isinstance(weight, (int, float)):
                    raise ConfigError(
                        f"{type(self).__name__}: reward_weights: expected numbers, got {weight!r}"
                    )
        if self.delta is not None and self.delta <= 1.0 + (
            self.epsilon if self.epsilon_high is None else self.epsilon_high
        ):
            raise ConfigError(
                f"{type(self).__name__}: delta: got {self.delta}, must be more than 1 + epsilon_high"
            )

    def _derive(self) -> None:
        set_ = lambda name, value: object.__setattr__(self, name, value)  # noqa: E731
        if self.min_p is None:
            set_("min_p", 0.0)
        if self.num_generations is None:
            set_("num_generations", 8)
        if self.per_device_train_batch_size is None:
            set_("per_device_train_batch_size", self.num_generations)
        batch, given = self.per_device_train_batch_size, self.generation_batch_size
        if self.steps_per_generation is None:
            if given is not None and given % batch:
                raise ConfigError(
                    f"{type(self).__name__}: generation_batch_size: got {given}, must be a multiple of "
                    f"per_device_train_batch_size ({batch})"
                )
            set_(
                "steps_per_generation", self.gradient_accumulation_steps if given is None else given // batch
            )
        if given is None:
            set_("generation_batch_size", batch * self.steps_per_generation)

    def _check_advantage_mode(self) -> None:
        plans, chains = getattr(self, "num_plans", 0), getattr(self, "cots_per_plan", 0)
        if self.advantage_mode == "hierarchical" and min(plans, chains) < 2:
            found = f"got {plans} and {chains}" if plans else "flat groups have no plans"
            raise ConfigError(
                f"{type(self).__name__}: advantage_mode 'hierarchical' compares plans with plans and chains "
                f"with chains: it needs num_plans >= 2 and cots_per_plan >= 2; {found}"
            )

    def _check_batch(self) -> None:
        name, batch, accumulate = (
            type(self).__name__,
            self.per_device_train_batch_size,
            self.gradient_accumulation_steps,
        )
        if self.generation_batch_size != batch * self.steps_per_generation:
            raise ConfigError(
                f"{name}: generation_batch_size ({self.generation_batch_size}) must equal "
                "per_device_train_batch_size "
                f"({batch}) x steps_per_generation ({self.steps_per_generation}); give only one of the two"
            )
        if batch * accumulate % self.num_generations:
            raise ConfigError(
                f"{name}: per_device_train_batch_size ({batch}) x gradient_accumulation_steps "
                f"({accumulate}) must be "
                f"a multiple of num_generations ({self.num_generations}): an optimizer step takes whole "
                "groups"
            )
        if self.steps_per_generation % accumulate:
            raise ConfigError(
                f"{name}: steps_per_generation ({self.steps_per_generation}) must be a multiple of "
                f"gradient_accumulation_steps ({accumulate}): a rollout feeds whole optimizer steps"
            )

    @property
    def questions_per_step(self) -> int:
        """Questions of one optimizer step."""
        return self.per_device_train_batch_size * self.gradient_accumulation_steps // self.num_generations

    @property
    def questions_per_rollout(self) -> int:
        """Questions that are sampled together."""
        return self.generation_batch_size // self.num_generations

    @property
    def minibatches(self) -> int:
        """Optimizer steps that one pass over a rollout makes."""
        return self.steps_per_generation // self.gradient_accumulation_steps

    @property
    def steps_per_rollout(self) -> int:
        """Optimizer steps that a rollout feeds, all iterations together."""
        return self.minibatches * self.num_iterations


@dataclasses.dataclass(frozen=True, kw_only=True)
class PTAGRPOConfig(GRPOConfig):
    """Stage 2 on plan trees, with the paper's settings (section A.10) as defaults.

    The paper's global batch of 128 questions (`gradient_accumulation_steps=128`) is not the default: it is a
    matter of the machine.
    """

    algorithm: str = option(
        "pta_grpo",
        "algorithm whose defaults apply",
        choices=tuple(name for name in algorithms.names() if algorithms.load(name).tree),
    )
    prompt_style: str = option(
        "plan",
        "how a question becomes a prompt: asking for plan, reasoning and answer "
        "('plan'), for reasoning ('cot'), or as the data set has it ('raw')",
        choices=PROMPT_STYLES,
    )
    num_plans: int = option(4, "plans to a question (the paper's m)", at_least=1)
    cots_per_plan: int = option(3, "chains of thought under a plan (the paper's z)", at_least=1)
    max_plan_length: int | None = option(
        None, "tokens of a plan at most; None: half of max_completion_length", at_least=1
    )
    num_generations: int | None = option(None, "num_plans x cots_per_plan; checked if given", at_least=2)

    def _derive(self) -> None:
        product = self.num_plans * self.cots_per_plan
        if self.num_generations is not None and self.num_generations != product:
            raise ConfigError(
                f"{type(self).__name__}: num_generations: got {self.num_generations}, but num_plans "
                f"({self.num_plans})"
                f" x cots_per_plan ({self.cots_per_plan}) is {product}; leave num_generations out"
            )
        if product < 2:
            raise ConfigError(
                f"{type(self).__name__}: num_plans x cots_per_plan: got {product}, need at least 2 "
                "responses to compare"
            )
        if self.num_generations_eval not in (None, product):
            raise ConfigError(
                f"{type(self).__name__}: num_generations_eval: got {self.num_generations_eval}, but evaluation samples "
                f"whole plan trees of num_plans x cots_per_plan = {product} responses; leave it out"
            )
        object.__setattr__(self, "num_generations", product)
        super()._derive()
