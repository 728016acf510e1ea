"""Resuming: what may have changed, what may not, and which checkpoint it goes on from."""

from __future__ import annotations

import json

import pytest
import training_toys
from conftest import make_word_tokenizer
from training_toys import QUESTIONS, SFT_ROWS

from ptagrpo.errors import CheckpointError, ConfigError, ResumeError
from ptagrpo.policy import Policy
from ptagrpo.training import GRPOConfig, GRPOTrainer, SFTConfig, SFTTrainer

BASE = {
    "max_steps": 4,
    "save_steps": 2,
    "disable_tqdm": True,
    "per_device_train_batch_size": 4,
    "logging_steps": 1,
}


def sft(folder, rows=SFT_ROWS, policy=None, **options):
    args = SFTConfig(output_dir=str(folder), **{**BASE, **options})
    return SFTTrainer(policy or training_toys.policy(), args, rows)


@pytest.fixture
def stopped(tmp_path):
    sft(tmp_path).train()
    return tmp_path


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"seed": 1}, ["settings.seed: 42 -> 1"]),
        (
            {"learning_rate": 1e-3, "weight_decay": 0.5},
            ["learning_rate: 2e-05 -> 0.001", "weight_decay: 0.0 -> 0.5"],
        ),
        ({"rows": SFT_ROWS[:-1]}, ["data:"]),
        ({"rows": SFT_ROWS[::-1]}, ["data:"]),
        ({"max_steps": 8}, ["settings.max_steps: 4 -> 8"]),  # the linear schedule depends on it
    ],
)
def test_changes_are_refused_by_name(stopped, changes, said):
    before = {p: p.read_bytes() for p in stopped.rglob("*") if p.is_file()}
    trainer = sft(stopped, **changes)
    with pytest.raises(ResumeError) as caught:
        trainer.train(resume_from_checkpoint="auto")
    assert all(text in str(caught.value) for text in said)
    assert {p: p.read_bytes() for p in stopped.rglob("*") if p.is_file()} == before


def test_another_tokenizer_or_model_is_refused(stopped):
    tokenizer = make_word_tokenizer()
    tokenizer.chat_template = "{{ messages }}"
    config = training_toys.policy().config
    with pytest.raises(ResumeError, match="tokenizer: "):
        sft(stopped, policy=Policy.from_config(config, tokenizer)).train("auto")
    with pytest.raises(ResumeError, match=r"model\.rms_norm_eps: 1e-06 -> 0.001"):
        sft(stopped, policy=training_toys.policy(rms_norm_eps=1e-3)).train("auto")


def test_rewards_and_the_reference_policy_belong_to_the_run(tmp_path):
    def make(func=training_toys.short, seed=0):
        args = GRPOConfig(
            output_dir=str(tmp_path), max_steps=2, num_generations=2, max_completion_length=4, beta=0.1,
            prompt_style="raw", disable_tqdm=True,
        )  # fmt: skip
        return GRPOTrainer(training_toys.policy(seed), func, args, QUESTIONS)

    make().train()
    with pytest.raises(ResumeError, match=r"settings.reward_funcs: \['short'\] -> \['longer'\]"):

        def longer(completions, **kwargs):
            return [float(len(completion)) for completion in completions]

        make(longer).train("auto")
    with pytest.raises(ResumeError, match="reference_policy: "):
        make(seed=1).train("auto")
    assert make().train("auto").global_step == 2


def test_what_does_not_change_the_weights_may_change(stopped):
    trainer = sft(stopped, logging_steps=3, save_steps=1, save_total_limit=1, eval_steps=5, run_name="x")
    assert trainer.train("auto").global_step == 4


def test_a_constant_schedule_can_be_extended(tmp_path):
    sft(tmp_path / "a", lr_scheduler_type="constant").train()
    extended = sft(tmp_path / "a", lr_scheduler_type="constant", max_steps=8)
    extended.train("auto")
    sft(tmp_path / "b", lr_scheduler_type="constant", max_steps=8).train()
    assert training_toys.result(tmp_path / "a", 8) == training_toys.result(tmp_path / "b", 8)


def test_which_checkpoint(stopped):
    with pytest.raises(ConfigError, match="resume_from_checkpoint.*overwrite_output_dir"):
        sft(stopped).train()
    whole = training_toys.result(stopped, 4)
    trainer = sft(stopped)
    trainer.train(stopped / "checkpoint-2")  # an earlier one, by name: its future is done again
    assert training_toys.result(stopped, 4) == whole
    weights = stopped / "checkpoint-4" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\1")
    with pytest.warns(RuntimeWarning, match="checkpoint-4.*checksum.*going back"):
        sft(stopped).train(True)
    assert training_toys.result(stopped, 4) == whole
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        sft(stopped).train(stopped / "checkpoint-3")
    sft(stopped, overwrite_output_dir=True, max_steps=2).train()
    assert [p.name for p in stopped.glob("checkpoint-*")] == ["checkpoint-2"]


def test_nothing_to_resume_from(tmp_path):
    with pytest.raises(CheckpointError, match="no usable checkpoint"):
        sft(tmp_path).train(True)
    assert sft(tmp_path).train("auto").global_step == 4
    for manifest in tmp_path.glob("checkpoint-*/manifest.json"):
        manifest.unlink()
    with pytest.warns(RuntimeWarning), pytest.raises(CheckpointError, match="no usable checkpoint"):
        sft(tmp_path).train("auto")  # starting anew over damaged checkpoints is the user's decision


def test_rows_of_steps_that_are_done_again_stand_once(stopped):
    with open(stopped / "metrics.jsonl", "a") as file:
        file.write('{"step": 5, "loss"')  # as a killed process leaves it
    sft(stopped).train(stopped / "checkpoint-2")
    steps = [json.loads(line)["step"] for line in (stopped / "metrics.jsonl").read_text().splitlines()]
    assert steps == [1, 2, 3, 4]


def test_an_evaluation_that_a_stop_prevented_is_made_up_for(tmp_path):
    def make(folder, callbacks=()):
        args = SFTConfig(
            output_dir=str(folder), max_steps=4, eval_strategy="steps", eval_steps=2, logging_steps=1,
            per_device_train_batch_size=4, disable_tqdm=True,
        )  # fmt: skip
        return SFTTrainer(training_toys.policy(), args, SFT_ROWS, SFT_ROWS[:3], callbacks)

    class Stop:
        def on_step_end(self, args, state, control, **kwargs):
            if state.global_step == 2:
                raise KeyboardInterrupt

    make(tmp_path / "a").train()
    with pytest.raises(KeyboardInterrupt):
        make(tmp_path / "b", [Stop]).train()
    make(tmp_path / "b").train("auto")
    assert training_toys.result(tmp_path / "a", 4) == training_toys.result(tmp_path / "b", 4)
    assert (
        sum("eval_loss" in line for line in (tmp_path / "b" / "metrics.jsonl").read_text().splitlines()) == 2
    )


def test_a_checkpoint_of_other_tensors_changes_nothing(stopped):
    """Its manifest holds and its settings fit, but a moment has another shape: refused before loading."""
    from safetensors.numpy import load_file, save_file

    from ptagrpo.training.run_store import _seal

    folder = stopped / "checkpoint-4"
    moments = load_file(folder / "optimizer.safetensors")
    moments["m.model.norm.weight"] = moments["m.model.norm.weight"][:-1]
    save_file(moments, folder / "optimizer.safetensors")
    (folder / "manifest.json").unlink()
    _seal(folder, 4)
    trainer = sft(stopped)
    before = trainer.policy.model.parameters()["model.norm.weight"].copy()
    with pytest.raises(CheckpointError, match=r"m\.model\.norm\.weight: expected .*\(16,\).*found .*\(15,\)"):
        trainer.train("auto")
    assert (trainer.policy.model.parameters()["model.norm.weight"] == before).all()


def test_a_trainer_can_start_anew_after_a_run(tmp_path):
    """Moments and counters begin at zero again; the weights go on from where they are."""
    trainer = sft(tmp_path / "a", overwrite_output_dir=True)
    trainer.train()
    middle = trainer.policy.clone()
    trainer.train()
    sft(tmp_path / "b", policy=middle).train()
    assert training_toys.result(tmp_path / "a", 4) == training_toys.result(tmp_path / "b", 4)
