"""Configurations: every option checked, none ignored, and what is written can be read back."""

from __future__ import annotations

import dataclasses
import math

import pytest

from ptagrpo.errors import ConfigError
from ptagrpo.training import GRPOConfig, PTAGRPOConfig, SFTConfig, not_yet, schedule

ALL = (SFTConfig, GRPOConfig, PTAGRPOConfig)


@pytest.mark.parametrize("config", ALL)
def test_defaults_are_valid_described_and_survive_a_round_trip(config):
    made = config()
    assert config.from_dict(made.to_dict()) == made
    assert all(field.metadata["doc"] for field in config.options().values())


def test_the_papers_settings_are_the_defaults():
    made = PTAGRPOConfig()
    assert (made.num_plans, made.cots_per_plan, made.num_generations) == (4, 3, 12)
    assert (made.learning_rate, made.weight_decay, made.temperature, made.top_p) == (1e-6, 1e-2, 1.0, 1.0)
    assert (made.plan_reward_weight, made.structure_reward, made.std_correction) == (0.5, 0.2, 0)
    assert made.lr_scheduler_type == "constant" and made.warmup_ratio == 0.0
    assert SFTConfig().num_train_epochs == 3.0


def test_algorithms_bring_their_defaults_and_the_user_wins():
    assert GRPOConfig(algorithm="dapo").epsilon_high == 0.28
    assert GRPOConfig(algorithm="dapo").dynamic_sampling
    assert GRPOConfig(algorithm="dr_grpo").scale_rewards == "none"
    assert GRPOConfig(algorithm="dapo", epsilon_high=0.5).epsilon_high == 0.5
    assert GRPOConfig(algorithm="dapo").replace(seed=1).epsilon_high == 0.28


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"learning_rat": 1}, "Did you mean 'learning_rate'?"),
        ({"nonsense": 1}, "no option 'nonsense'"),
        ({"fp16": True}, "fp16=True is not supported"),
        ({"report_to": "wanb"}, "Did you mean 'wandb'?"),
        ({"report_to": ["tensorboard", "none"]}, "report_to: got 'none'"),
        ({"learning_rate": -1.0}, "must be at least 0"),
        ({"learning_rate": math.nan}, "nan"),
        ({"learning_rate": math.inf}, "must be finite"),
        ({"learning_rate": "fast"}, "expected float, got 'fast'"),
        ({"seed": 1.5}, "expected int, got 1.5"),
        ({"seed": True}, "expected int, got True"),
        ({"shuffle_dataset": 1}, "expected bool, got 1"),
        ({"max_steps": 0}, "max_steps: got 0"),
        ({"save_strategy": "step"}, "Did you mean 'steps'?"),
        ({"lr_scheduler_type": "polynomial"}, "expected one of 'constant'"),
        ({"lr_scheduler_type": "constant", "warmup_steps": 3}, "constant_with_warmup"),
        ({"lr_scheduler_type": "linear", "lr_scheduler_kwargs": {"power": 2}}, "'power' means nothing"),
        ({"lr_scheduler_type": "linear", "lr_scheduler_kwargs": {"min_lr_rate": 2}}, "number from 0 to 1.0"),
        ({"lr_scheduler_type": "cosine_with_min_lr"}, "needs min_lr or min_lr_rate"),
        ({"prompt_style": "chat"}, "expected one of 'plan'"),
    ],
)
@pytest.mark.parametrize("config", ALL)
def test_wrong_settings_are_refused_by_name(config, settings, said):
    with pytest.raises(ConfigError) as caught:
        config(**settings)
    assert said in str(caught.value)
    assert config.__name__ in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"num_generations": 8}, "num_plans (4) x cots_per_plan (3) is 12"),
        ({"num_plans": 1, "cots_per_plan": 1}, "at least 2"),
        ({"per_device_train_batch_size": 8}, "multiple of num_generations (12)"),
        ({"gradient_accumulation_steps": 2, "steps_per_generation": 3}, "whole optimizer steps"),
        ({"generation_batch_size": 24, "steps_per_generation": 3}, "give only one of the two"),
        ({"generation_batch_size": 25}, "multiple of per_device_train_batch_size"),
        ({"delta": 1.1}, "more than 1 + epsilon_high"),
        ({"reward_weights": ["a"]}, "expected numbers"),
        ({"importance_sampling_level": "sequence"}, "not supported"),
        ({"algorithm": "grpo"}, "expected one of 'pta_grpo'"),
    ],
)
def test_rl_settings_that_contradict_each_other(settings, said):
    with pytest.raises(ConfigError) as caught:
        PTAGRPOConfig(**settings)
    assert said in str(caught.value)


def test_batches_are_counted_as_trl_counts_them():
    made = PTAGRPOConfig(
        per_device_train_batch_size=24, gradient_accumulation_steps=2, steps_per_generation=8
    )
    assert made.generation_batch_size == 192
    assert (made.questions_per_step, made.minibatches, made.steps_per_rollout) == (4, 4, 4)
    assert made.replace(num_iterations=3).steps_per_rollout == 12
    assert GRPOConfig(num_generations=4, generation_batch_size=16).steps_per_generation == 4


@pytest.mark.parametrize("table", [not_yet.COMMON, not_yet.SFT, not_yet.RL])
def test_neutral_values_of_unsupported_options_are_accepted_and_others_are_not(table):
    config = SFTConfig if table is not_yet.SFT else GRPOConfig
    for name, entry in table.items():
        assert name not in config.options()
        for value in entry.neutral:
            config(**{name: value})
        with pytest.raises(ConfigError, match=name):
            config(**{name: "something else"})


def test_yaml_with_numbers_as_text_and_overrides(tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text("learning_rate: 1e-6\nseed: 3\nnum_plans: 2\n")
    made = PTAGRPOConfig.from_yaml(file, seed=4)
    assert (made.learning_rate, made.seed, made.num_generations) == (1e-6, 4, 6)
    file.write_text("learning_rte: 1e-6\n")
    with pytest.raises(ConfigError, match=r"run\.yaml.*learning_rate"):
        PTAGRPOConfig.from_yaml(file)
    for broken in ("- a list\n", "a: [\n"):
        file.write_text(broken)
        with pytest.raises(ConfigError, match=r"run\.yaml"):
            SFTConfig.from_yaml(file)
    with pytest.raises(ConfigError, match=r"none\.yaml"):
        SFTConfig.from_yaml(tmp_path / "none.yaml")


def test_a_configuration_cannot_be_changed_behind_the_checks():
    with pytest.raises(dataclasses.FrozenInstanceError):
        SFTConfig().learning_rate = -1.0


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"lr_scheduler_type": "constant"}, [1, 1, 1, 1, 1, 1]),
        ({"lr_scheduler_type": "constant_with_warmup", "warmup_steps": 2}, [0, 0.5, 1, 1, 1, 1]),
        ({"lr_scheduler_type": "linear", "warmup_steps": 0.3}, [0, 0.5, 1, 0.75, 0.5, 0.25]),
        ({"lr_scheduler_type": "linear", "warmup_ratio": 0.3}, [0, 0.5, 1, 0.75, 0.5, 0.25]),
        (
            {"lr_scheduler_type": "linear", "lr_scheduler_kwargs": {"min_lr_rate": 0.4}},
            [1, 0.9, 0.8, 0.7, 0.6, 0.5],
        ),
        (
            {"lr_scheduler_type": "linear", "lr_scheduler_kwargs": {"min_lr": 0.4}},
            [1, 0.9, 0.8, 0.7, 0.6, 0.5],
        ),
        (
            {"lr_scheduler_type": "cosine"},
            [0.5 * (1 + math.cos(math.pi * step / 6)) for step in range(6)],
        ),
    ],
)
def test_schedules(settings, expected):
    args = SFTConfig(learning_rate=1.0, **settings)
    found = [schedule.learning_rate(args, step, 6) for step in range(6)]
    assert found == pytest.approx(expected, abs=1e-12)


def test_schedules_equal_those_of_transformers():
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    for kind, kwargs in (("linear", {}), ("cosine", {}), ("cosine_with_min_lr", {"min_lr_rate": 0.1})):
        args = SFTConfig(
            learning_rate=0.5, lr_scheduler_type=kind, warmup_steps=3, lr_scheduler_kwargs=kwargs
        )
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.5)
        theirs = transformers.get_scheduler(kind, optimizer, 3, 20, scheduler_specific_kwargs=kwargs)
        for step in range(20):
            assert schedule.learning_rate(args, step, 20) == pytest.approx(
                optimizer.param_groups[0]["lr"], abs=1e-9
            )
            optimizer.step()
            theirs.step()
