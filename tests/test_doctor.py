"""`ptagrpo doctor` and `--dry_run`."""

import copy
import json

import pytest
import yaml
from training_toys import QUESTIONS, SFT_ROWS, policy

from ptagrpo import _core, environment
from ptagrpo.cli import main, run_doctor
from ptagrpo.generation import kv_bytes
from ptagrpo.io import write_jsonl
from ptagrpo.training import GRPOConfig, PTAGRPOConfig, PTAGRPOTrainer, SFTConfig, SFTTrainer
from ptagrpo.training.dry_run import DryRun
from ptagrpo.training.estimate import zero_forest

FINE = {
    "build": {"version": "1", "compiler": "cc", "blas": "", "simd": "avx2", "sanitize": "",
              "kernels": {"float32": "avx2", "bfloat16": "avx2"}},
    "machine": {"processor": "P", "architecture": "x86_64", "system": "Linux", "instructions": ["avx2", "fma"]},
    "threads": {"used": 4, "allowed": 4, "present": 8, "quota": None, "variables": {}},
    "python": "3.11", "packages": dict.fromkeys(run_doctor.READERS, "1"), "huge_pages": "madvise",
    "memory": {"total": 16 << 30, "available": 8 << 30},
}  # fmt: skip


def call(capsys, *arguments):
    capsys.readouterr()
    code = main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    return code, out, err


def test_doctor_tells_what_is_in_use(capsys):
    code, out, _ = call(capsys, "doctor")
    info = _core.build_info()
    assert code == 0 and info["version"] in out and f"float32: {info['kernels']['float32']}" in out
    assert f"threads     {_core.get_num_threads()} used" in out and "GiB available of" in out
    code, out, _ = call(capsys, "doctor", "--json")
    found = json.loads(out)
    assert code == 0 and found["build"]["kernels"] == info["kernels"] and isinstance(found["advice"], list)


def test_nothing_is_advised_where_all_is_well():
    assert run_doctor.advice(FINE) == []


@pytest.mark.parametrize("path, value, told", [
    (("threads", "used"), 1, "Only 1 of 4 processors are used: set OMP_NUM_THREADS=4"),
    (("threads", "used"), 8, "8 threads share 4 processors .* OMP_NUM_THREADS=4"),
    (("threads", "quota"), 2.5, "4 threads share 2 processors"),
    (("build", "kernels", "float32"), "portable", "has avx2, but products run in portable C"),
    (("build", "kernels", "bfloat16"), "amx-bf16", "bf16=True trains faster"),
    (("build", "sanitize"), "address", "built with sanitizers"),
    (("memory", "available"), 1 << 30, "Less than 2 GiB"),
    (("huge_pages",), "never", "no huge pages"),
    (("packages",), {}, r"pyarrow \(parquet files\)"),
])  # fmt: skip
def test_advice(path, value, told):
    found = copy.deepcopy(FINE)
    place = found
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    advice = run_doctor.advice(found)
    assert len(advice) == 1
    import re

    assert re.search(told, advice[0])


def test_limits_of_a_control_group(tmp_path):
    (tmp_path / "cpu.max").write_text("150000 100000\n")
    assert environment.cpu_quota(tmp_path) == 1.5
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert environment.cpu_quota(tmp_path) is None
    (tmp_path / "cpu.max").unlink()
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text("-1\n")
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
    assert environment.cpu_quota(tmp_path) is None
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text("400000\n")
    assert environment.cpu_quota(tmp_path) == 4.0
    assert environment.cpu_quota(tmp_path / "none") is None


# --- dry run ---


def sft(tmp_path, **options):
    settings = {
        "output_dir": str(tmp_path / "run"),
        "disable_tqdm": True,
        "save_steps": 2,
        "logging_steps": 1,
    }
    return SFTTrainer(policy(), SFTConfig(**{**settings, **options}), SFT_ROWS)


def tree(tmp_path, **options):
    settings = {"output_dir": str(tmp_path / "run"), "disable_tqdm": True, "save_steps": 2, "logging_steps": 1,
                "num_plans": 2, "cots_per_plan": 3, "max_completion_length": 20, "max_plan_length": 8,
                "prompt_style": "raw", "answer_kind": "exact"}  # fmt: skip
    return PTAGRPOTrainer(policy(), (), PTAGRPOConfig(**{**settings, **options}), QUESTIONS)


def test_a_dry_run_counts_what_the_run_would_take(tmp_path):
    trainer = sft(tmp_path, per_device_train_batch_size=4, gradient_accumulation_steps=2, num_train_epochs=2)
    dry = DryRun(trainer, timed=False)
    lengths = sorted((len(record.token_ids) for record in trainer._records), reverse=True)
    assert (dry.steps, dry.tokens_per_step) == (6, sum(lengths[:8])) and dry.doubts == []
    assert dry.memory["moments of AdamW"] == 8 * trainer.policy.num_parameters
    trainer.train()
    stored = [row["num_tokens"] for row in trainer.state.log_history]
    assert stored[0] <= dry.tokens_per_step and len(stored) == dry.steps

    trainer = tree(tmp_path / "rl", max_steps=3)
    dry = DryRun(trainer)
    group = max(len(row["prompt"].split()) for row in QUESTIONS) + 2 * (8 + 3 * 12)
    assert dry.tokens_per_step == group and dry.seconds > 0
    assert dry.memory["keys and values of one question's responses"] == kv_bytes(trainer.policy, group)
    assert not (tmp_path / "rl" / "run").exists() or not any((tmp_path / "rl" / "run").iterdir())


def test_the_memory_of_a_dry_run_is_that_of_the_training_call(tmp_path):
    trainer = tree(tmp_path, beta=0.1)
    dry = DryRun(trainer, timed=False)
    sizes = trainer.policy.model.memory()
    assert dry.memory["weights"] == dry.memory["reference policy"] == sizes["weights"]
    activations = next(size for use, size in dry.memory.items() if use.startswith("activations"))
    forest = zero_forest(dry._lengths, dry._parents)
    assert activations == _core.train_bytes(trainer.policy.model, forest, sum(dry._lengths), "all")
    assert dry._parents[:9] == [-1, 0, 1, 1, 1, 0, 5, 5, 5]


@pytest.mark.parametrize("options, told", [
    ({"learning_rate": 0.1}, "learning_rate 0.1 is high"),
    ({"save_steps": 1000}, "save_steps 1000 is more than the"),
    ({"logging_steps": 1000}, "there is one row"),
    ({"warmup_steps": 1000}, "warm-up takes the whole run"),
])  # fmt: skip
def test_doubts_about_sft(tmp_path, options, told):
    doubts = DryRun(sft(tmp_path, **options), timed=False).doubts
    assert len(doubts) == 1 and told in doubts[0]


@pytest.mark.parametrize("options, told", [
    ({"num_plans": 1}, "With num_plans=1"),
    ({"cots_per_plan": 1}, "With cots_per_plan=1"),
    ({"max_completion_length": 400}, "exceed the model's max_position_embeddings 256"),
    ({"max_steps": 1000}, "Each question is sampled about 50 times"),
    ({"top_p": 0.9}, "cut the sampled distribution"),
])  # fmt: skip
def test_doubts_about_rl(tmp_path, options, told):
    doubts = DryRun(tree(tmp_path, **options), timed=False).doubts
    assert len(doubts) == 1 and told in doubts[0]


def test_checkpoints_of_an_earlier_run_are_seen(tmp_path):
    sft(tmp_path, max_steps=2).train()
    assert any("holds checkpoints" in doubt for doubt in DryRun(sft(tmp_path), timed=False).doubts)


def test_dry_run_on_the_command_line_trains_nothing(capsys, tmp_path):
    policy().save(tmp_path / "model")
    write_jsonl(tmp_path / "q.jsonl", QUESTIONS)
    write_jsonl(tmp_path / "s.jsonl", SFT_ROWS)
    run = tmp_path / "run"
    common = ("--dry-run", "--model", tmp_path / "model", "--output_dir", run, "--prompt_style", "raw")
    code, out, err = call(capsys, "train", "--algorithm", "grpo", "--train_dataset", tmp_path / "q.jsonl", *common,
                          "--num_generations", 4, "--contamination", "check")  # fmt: skip
    assert code == 0, err
    start = out.index("# the resolved configuration")
    settings = yaml.safe_load(out[start : out.index("optimizer steps of at most")].rsplit("\n", 1)[0])
    assert settings["num_generations"] == 4 and settings["train_dataset"].endswith("q.jsonl")
    names = GRPOConfig.options()
    config = GRPOConfig.from_dict({name: value for name, value in settings.items() if name in names})
    assert config.contamination == "check" and config.prompt_style == "raw"
    code, out, err = call(capsys, "sft", "--train_dataset", tmp_path / "s.jsonl", *common)
    assert code == 0 and "activations of a micro-batch" in out and "What looks wrong" in out, err
    code, out, err = call(capsys, "sft", "--train_dataset", tmp_path / "s.jsonl", *common, "--bf16", "true")
    assert code == 0 and "bf16: true" in out, err  # the model is loaded as the settings ask for
    assert not any(run.glob("*")) if run.exists() else True


def test_memory_is_known_where_there_is_no_proc(monkeypatch):
    total, _ = environment.system_memory()
    now = environment.resident_memory()
    monkeypatch.setattr(environment, "_read", lambda path: None)
    assert environment.system_memory()[0] == pytest.approx(total, rel=0.05)  # the kernel's own part is not in one
    assert environment.system_memory()[1] == environment.system_memory()[0] // 2
    assert environment.resident_memory() >= 0.9 * now  # the most that it had
