"""Two scripts in the shape of TRL's documented examples, run with nothing changed but the name in the import lines.

The models are a folder of a few thousand random weights instead of a hub id, the data a few JSONL rows. Where trl and
torch are installed, the very same scripts run under TRL too, so that they are no scripts of our own invention.
"""

from __future__ import annotations

import sys
import types

import pytest

from ptagrpo.io import read_jsonl, write_jsonl

GRPO_SCRIPT = """
from datasets import load_dataset
from trl import GRPOConfig, GRPOTrainer
from trl.rewards import accuracy_reward, get_soft_overlong_punishment

dataset = load_dataset("json", data_files="problems.jsonl", split="train")


def distinct_characters(completions, **kwargs):
    return [float(len(set(completion[0]["content"]))) for completion in completions]


def knows_the_level(prompts, completions, level, **kwargs):
    assert len(prompts) == len(completions) == len(level)
    return [None if value is None else 0.1 * value for value in level]


training_args = GRPOConfig(
    output_dir="grpo_run",
    learning_rate=1e-4,
    per_device_train_batch_size=8,
    gradient_accumulation_steps=1,
    num_generations=4,
    max_completion_length=12,
    temperature=1.0,
    beta=0.04,
    loss_type="dr_grpo",
    scale_rewards=False,
    reward_weights=[1.0, 0.2, 0.5, 1.0],
    num_train_epochs=1,
    max_steps=2,
    logging_steps=1,
    save_strategy="steps",
    save_steps=2,
    bf16=False,
    gradient_checkpointing=False,
    use_vllm=False,
    report_to="none",
)
trainer = GRPOTrainer(
    model="model",
    reward_funcs=[
        accuracy_reward,
        distinct_characters,
        get_soft_overlong_punishment(max_completion_len=12, soft_punish_cache=4),
        knows_the_level,
    ],
    args=training_args,
    train_dataset=dataset,
)
trainer.train()
trainer.save_model("grpo_run/final")
"""

SFT_SCRIPT = """
from datasets import load_dataset
from trl import SFTConfig, SFTTrainer

train = load_dataset("json", data_files="conversations.jsonl", split="train")
held_out = load_dataset("json", data_files="held_out.jsonl", split="train")
training_args = SFTConfig(
    output_dir="sft_run",
    learning_rate=2e-3,
    per_device_train_batch_size=4,
    per_device_eval_batch_size=2,
    gradient_accumulation_steps=2,
    num_train_epochs=3,
    lr_scheduler_type="cosine",
    warmup_steps=1,
    max_length=256,
    eval_strategy="steps",
    eval_steps=3,
    save_steps=3,
    save_total_limit=1,
    load_best_model_at_end=True,
    metric_for_best_model="loss",
    logging_steps=1,
    logging_first_step=True,
    bf16=False,
    model_init_kwargs={"dtype": "float32"},
    report_to="none",
)
trainer = SFTTrainer(model="model", args=training_args, train_dataset=train, eval_dataset=held_out)
trainer.train()
metrics = trainer.evaluate()
trainer.save_model("sft_run/final")
"""


def with_import_changed(script: str) -> str:
    """`from trl…` as `from ptagrpo…`, and nothing else."""
    changed = script.replace("from trl", "from ptagrpo")
    differing = [b for a, b in zip(script.splitlines(), changed.splitlines(), strict=True) if a != b]
    assert differing and all(line.startswith("from ptagrpo") for line in differing)
    return changed


@pytest.fixture
def folder(tmp_path, monkeypatch, tiny_policy):
    """A working folder with the model and the data; `datasets` by a stand-in where it is not installed."""
    tiny_policy("llama", seed=1).save(tmp_path / "model")
    problems = [
        {"prompt": [{"role": "user", "content": f"{a}+{b}?"}], "solution": f"{a + b}", "level": a}
        for a in range(1, 5)
        for b in range(2)
    ]
    chats = [
        {
            "messages": [
                {"role": "user", "content": f"{a}+1?"},
                {"role": "assistant", "content": f"It is {a + 1}."},
            ]
        }
        for a in range(12)
    ]
    write_jsonl(tmp_path / "problems.jsonl", problems)
    write_jsonl(tmp_path / "conversations.jsonl", chats[:8])
    write_jsonl(tmp_path / "held_out.jsonl", chats[8:])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    try:
        import datasets  # noqa: F401
    except ImportError:
        module = types.ModuleType("datasets")
        module.load_dataset = lambda kind, data_files, split: list(read_jsonl(data_files))
        monkeypatch.setitem(sys.modules, "datasets", module)
    return tmp_path


def run(script: str) -> dict:
    names: dict = {"__name__": "script"}
    exec(compile(script, "script.py", "exec"), names)  # the script is the constant above
    return names


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_grpo_script_of_trl(folder):
    names = run(with_import_changed(GRPO_SCRIPT))
    state = names["trainer"].state
    assert state.global_step == 2
    row = state.log_history[0]
    for reward in ("accuracy_reward", "distinct_characters", "knows_the_level"):
        assert f"rewards/{reward}/mean" in row
    assert {"reward", "reward_std", "kl", "loss", "grad_norm", "completions/mean_length"} <= set(row)
    assert (folder / "grpo_run" / "checkpoint-2" / "trainer_state.json").exists()
    assert (folder / "grpo_run" / "final" / "model.safetensors").exists()


def test_an_sft_script_of_trl(folder):
    names = run(with_import_changed(SFT_SCRIPT))
    state, metrics = names["trainer"].state, names["metrics"]
    assert state.global_step == 3
    losses = [row["loss"] for row in state.log_history if "loss" in row]
    assert len(losses) == 3 and losses[2] < losses[0]
    assert metrics["eval_loss"] == pytest.approx(state.best_metric) and state.best_global_step == 3
    assert (folder / "sft_run" / "final" / "tokenizer.json").exists()


@pytest.mark.parametrize(
    "script, output, steps", [(GRPO_SCRIPT, "grpo_run", 2), (SFT_SCRIPT, "sft_run", 3)], ids=["grpo", "sft"]
)
@pytest.mark.filterwarnings("ignore")
def test_the_same_scripts_run_under_trl(folder, script, output, steps):
    for name in ("torch", "trl", "datasets"):
        pytest.importorskip(name)
    names = run(script)
    assert names["trainer"].state.global_step == steps
    assert (folder / output / "final" / "model.safetensors").exists()
