"""The RL trainers: what a step computes, what it logs and writes, and that it learns."""

from __future__ import annotations

import gzip
import json

import numpy as np
import pytest
import training_toys
from training_toys import QUESTIONS

from ptagrpo.errors import ConfigError
from ptagrpo.training import GRPOConfig, GRPOTrainer, PTAGRPOConfig, PTAGRPOTrainer, TrainerCallback
from ptagrpo.training.callbacks import CallbackList


def flat(folder, funcs=(), callbacks=(), rows=QUESTIONS, policy=None, **options):
    options = {
        "num_generations": 4, "max_completion_length": 8, "max_steps": 2, "logging_steps": 1,
        "learning_rate": 1e-2,
        "prompt_style": "raw", "answer_kind": "exact", "disable_tqdm": True, **options,
    }  # fmt: skip
    args = GRPOConfig(output_dir=str(folder), **options)
    return GRPOTrainer(policy or training_toys.policy(), funcs, args, rows, rows[:3], callbacks)


def tree(folder, funcs=(), rows=QUESTIONS, **options):
    options = {
        "num_plans": 2, "cots_per_plan": 2, "max_completion_length": 8, "max_steps": 2, "logging_steps": 1,
        "learning_rate": 1e-2, "prompt_style": "raw", "answer_kind": "exact", "disable_tqdm": True, **options,
    }  # fmt: skip
    args = PTAGRPOConfig(output_dir=str(folder), **options)
    return PTAGRPOTrainer(training_toys.policy(), funcs, args, rows, rows[:3])


@pytest.mark.parametrize("make", [flat, tree])
def test_sampled_and_trained_log_probabilities_agree(tmp_path, make):
    trainer = make(tmp_path, [training_toys.short], temperature=0.7)
    trainer.train()
    for row in trainer.state.log_history:
        assert row["sampling/sampling_logp_difference/max"] == 0.0
        assert row["ratio/max"] == 1.0
        assert row["clip_ratio/region_mean"] == 0.0


def test_the_reference_policy_is_the_initial_one(tmp_path):
    trainer = flat(tmp_path, [training_toys.short], beta=0.1, max_steps=3)
    initial = {name: weight.copy() for name, weight in trainer.policy.model.parameters().items()}
    trainer.train()
    kl = [row["kl"] for row in trainer.state.log_history]
    assert kl[0] == pytest.approx(0.0, abs=1e-9) and kl[1] > 0 and kl[2] > 0
    assert all(np.array_equal(initial[n], w) for n, w in trainer._reference.model.parameters().items())
    row = trainer.state.log_history[2]
    assert row["loss"] > row["policy_loss"]


@pytest.mark.parametrize("loss_type", ["grpo", "dapo", "dr_grpo", "sum"])
def test_micro_batches_do_not_change_the_step(tmp_path, loss_type):
    rows = []
    for limit in (10**6, 1):
        options = {"per_device_train_batch_size": 16, "max_tokens_per_micro_batch": limit, "beta": 0.01}
        trainer = tree(
            tmp_path / str(limit), [training_toys.short], loss_type=loss_type, max_steps=1, **options
        )
        trainer.train()
        rows.append(trainer.state.log_history[0])
    for name in ("grad_norm", "entropy", "reward"):
        assert rows[1][name] == pytest.approx(rows[0][name], rel=1e-4)
    assert rows[1]["loss"] == pytest.approx(rows[0]["loss"], abs=1e-6)


def test_a_rollout_feeds_several_steps(tmp_path):
    """Two minibatches, used twice: four steps on one rollout, the questions move on once."""
    trainer = flat(
        tmp_path, [training_toys.short], per_device_train_batch_size=8, steps_per_generation=2,
        num_iterations=2,
        max_steps=8, log_completions=True,
    )  # fmt: skip
    trainer.train()
    with_rewards = [row["step"] for row in trainer.state.log_history if "reward" in row]
    assert with_rewards == [1, 5]
    assert trainer.state.epoch == pytest.approx(8 / len(QUESTIONS))
    assert trainer.state.log_history[0]["ratio/max"] == 1.0
    assert trainer.state.log_history[3]["ratio/max"] > 1.0
    assert sorted(p.name for p in (tmp_path / "completions").iterdir()) == [
        "completions_00001.jsonl", "completions_00005.jsonl"
    ]  # fmt: skip


def test_reward_functions_get_what_trl_gives_and_the_plans(tmp_path):
    seen = {}

    def look(prompts, completions, completion_ids, a, answer, plans, plan_index, cot_index, group_id,
             trainer_state, log_metric, log_extra, **kwargs):  # fmt: skip
        seen.update(locals())
        log_metric("custom", 2.5)
        log_extra("words", [len(completion.split()) for completion in completions])
        return [float(len(ids)) for ids in completion_ids]

    trainer = tree(tmp_path, [look], per_device_train_batch_size=8, log_completions=True, max_steps=1)
    trainer.train()
    assert len(seen["completions"]) == 8 and all(isinstance(c, str) for c in seen["completions"])
    assert seen["prompts"][0].startswith("what is") and len(set(seen["group_id"])) == 2
    assert seen["plan_index"] == [0, 0, 1, 1] * 2 and seen["cot_index"] == [0, 1] * 4
    assert seen["trainer_state"] is trainer.state
    row = trainer.state.log_history[0]
    assert row["custom"] == 2.5 and row["rewards/look/mean"] == pytest.approx(row["completions/mean_length"])
    lines = [
        json.loads(x) for x in (tmp_path / "completions/completions_00001.jsonl").read_text().splitlines()
    ]
    assert [x["words"] for x in lines] == [len(x["completion"].split()) for x in lines]
    assert {"prompt", "completion", "plan", "plan_reward", "reward", "rewards", "advantage"} <= set(lines[0])
    assert sum(x["advantage"] for x in lines[:4]) == pytest.approx(0.0, abs=1e-9)
    rows = gzip.decompress((tmp_path / "trees/trees_00001.jsonl.gz").read_bytes()).splitlines()
    [first, second] = map(json.loads, rows)
    assert [len(plan["chains"]) for plan in first["plans"] + second["plans"]] == [2, 2, 2, 2]


def test_metrics_have_trls_names(tmp_path):
    trainer = tree(tmp_path, beta=0.1)
    trainer.train()
    wanted = {
        "num_tokens", "reward", "reward_std", "frac_reward_zero_std", "rewards/outcome/mean",
        "rewards/plan/std",
        "rewards/structure/mean", "rewards/length/mean", "completions/mean_length", "completions/min_length",
        "completions/max_length", "completions/clipped_ratio", "entropy", "kl", "policy_loss",
        "clip_ratio/low_mean",
        "clip_ratio/high_mean", "clip_ratio/region_mean", "sampling/sampling_logp_difference/mean",
        "sampling/importance_sampling_ratio/mean", "loss", "grad_norm", "learning_rate", "epoch",
        "plan/success_mean", "plan/success_spread", "plan/tie_frac", "plan/unclosed_frac", "plan/length_mean",
    }  # fmt: skip
    assert wanted <= set(trainer.state.log_history[0])
    assert {"eval_reward", "eval_plan/success_mean"} <= set(trainer.evaluate())


def test_evaluation_does_not_disturb_training(tmp_path):
    flat(tmp_path / "a", [training_toys.short], max_steps=3).train()
    trainer = flat(tmp_path / "b", [training_toys.short], max_steps=3, eval_strategy="steps", eval_steps=1)
    trainer.train()
    name = "model.safetensors"
    assert training_toys.result(tmp_path / "a", 3)[name] == training_toys.result(tmp_path / "b", 3)[name]
    assert sum("eval_reward" in row for row in trainer.state.log_history) == 3


def test_dynamic_sampling_replaces_groups_that_teach_nothing(tmp_path):
    """Questions with a=0 get a constant reward: they leave the batch as long as others can be found."""

    def func(completions, a, **kwargs):
        return [0.0 if value == 0 else float(i) for i, value in enumerate(a)]

    rows = [{"prompt": "what is 1 + 1 ?", "answer": None, "a": i % 2, "id": str(i)} for i in range(20)]
    trainer = flat(
        tmp_path, [func], rows=rows, dynamic_sampling=True, max_resample_times=10,
        per_device_train_batch_size=16,
        max_steps=3, log_completions=True,
    )  # fmt: skip
    trainer.train()
    for row in trainer.state.log_history:
        assert row["frac_reward_zero_std"] == 0.0 and row["sampling/groups_filled"] == 0.0
    ids = [json.loads(line)["question_id"] for p in (tmp_path / "completions").iterdir() for line in p.open()]
    assert all(int(number) % 2 == 1 for number in ids)
    hopeless = [{**row, "a": 0} for row in rows]
    trainer = flat(tmp_path / "none", [func], rows=hopeless, dynamic_sampling=True, max_resample_times=2)
    trainer.train()
    assert trainer.state.log_history[0]["sampling/resample_rounds"] == 2.0
    assert trainer.state.log_history[0]["sampling/groups_filled"] == 1.0


@pytest.mark.parametrize(
    "options", [{}, {"algorithm": "dapo"}, {"algorithm": "dr_grpo"}, {"num_iterations": 2}, {"tree": True}],
    ids=["grpo", "dapo", "dr_grpo", "iterations", "pta_grpo"],
)  # fmt: skip
def test_it_learns_what_it_is_rewarded_for(tmp_path, options):
    """A word of our choice: from its chance share to far more of it within 30 steps."""

    def plus(completions, **kwargs):
        return [completion.split().count("+") / 8.0 for completion in completions]

    options = dict(options)
    make = tree if options.pop("tree", False) else flat
    trainer = make(
        tmp_path, [plus], max_steps=30, per_device_train_batch_size=32, learning_rate=2e-2, **options
    )
    trainer.train()
    values = [row["rewards/plus/mean"] for row in trainer.state.log_history if "rewards/plus/mean" in row]
    assert values[-1] > 2.0 * values[0] + 0.2


def test_a_callback_that_is_never_called_is_refused():
    with pytest.raises(ConfigError, match="object has none of the methods that are called: on_train_begin"):
        CallbackList([object()])


def test_callbacks_of_hugging_face_shape(tmp_path):
    events = []

    class Listener(TrainerCallback):
        def on_train_begin(self, args, state, control, **kwargs):
            events.append("begin")

        def on_step_end(self, args, state, control, **kwargs):
            events.append(f"step {state.global_step}")
            control.should_save = state.global_step == 2
            control.should_training_stop = state.global_step == 3

        def on_log(self, args, state, control, logs, **kwargs):
            events.append(f"log {logs['step']}")

        def on_save(self, args, state, control, checkpoint, **kwargs):
            events.append(checkpoint.name)

        def on_train_end(self, args, state, control, **kwargs):
            events.append("end")

    flat(tmp_path, [training_toys.short], [Listener], max_steps=9).train()
    assert events == [
        "begin", "step 1", "log 1", "step 2", "log 2", "checkpoint-2", "step 3",
        "log 3", "checkpoint-3", "end",
    ]  # fmt: skip


def test_the_progress_bar_shows_the_live_reward(tmp_path, capfd):
    flat(tmp_path, [training_toys.short], disable_tqdm=False, run_name="toy").train()
    shown = capfd.readouterr().err
    assert "toy" in shown and "reward=" in shown and "loss=" in shown and "2/2" in shown
