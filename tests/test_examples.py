"""Every script of examples/ runs from the command line as its docstring says, on a small model."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from teacher_server import Act, TeacherServer

import ptagrpo
from ptagrpo.data import chains
from ptagrpo.io import read_jsonl, write_jsonl

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
TRIED = {"own_questions", "own_reward", "lora_on_int8", "grpo_as_in_trl", "distill_plans", "compare_two_models",
         "watch_with_a_callback"}  # fmt: skip


def run(name: str, *arguments: object, **environment: str) -> str:
    paths = os.pathsep.join(path for path in sys.path if path)
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / f"{name}.py"), *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": paths, **environment},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("examples")
    assert "train.jsonl, test.jsonl, records.jsonl, study.yaml" in run("own_questions", folder)
    write_jsonl(folder / "few.jsonl", list(read_jsonl(folder / "test.jsonl"))[:6])
    write_jsonl(folder / "few_records.jsonl", list(read_jsonl(folder / "records.jsonl"))[:40])
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    config = {
        "model_type": "qwen2", "vocab_size": 32, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
        "num_attention_heads": 2, "num_key_value_heads": 1, "tie_word_embeddings": True, "rms_norm_eps": 1e-6,
    }  # fmt: skip
    tokenizer = chains.build_tokenizer()
    ptagrpo.Policy.from_config(config | {"vocab_size": tokenizer.vocab_size}, tokenizer).save(folder)
    return folder


def test_no_example_is_forgotten():
    assert {path.stem for path in EXAMPLES.glob("*.py")} == TRIED
    page = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    assert all(f"`{name}.py`" in page for name in TRIED)
    assert all(len(path.read_text(encoding="utf-8").splitlines()) <= 60 for path in EXAMPLES.glob("*.py"))


def test_own_questions_are_longer_than_the_quickstarts(data):
    rows = list(read_jsonl(data / "train.jsonl"))
    assert len(rows) == 400 and {len(chains.parse_question(row["question"]).plan) for row in rows} == {5, 6, 7}
    held_out = {row["question"] for row in read_jsonl(data / "test.jsonl")}
    assert held_out.isdisjoint(row["question"] for row in rows)


def test_own_reward(data, model, tmp_path):
    assert run("own_reward", model, data / "train.jsonl", tmp_path / "run").startswith("5 steps; reward ")
    assert (tmp_path / "run" / "model.safetensors").exists()
    rows = list(read_jsonl(tmp_path / "run" / "metrics.jsonl"))
    assert "rewards/short_plan/mean" in rows[-1]
    again = run("own_reward", model, data / "train.jsonl", tmp_path / "run")
    assert again.startswith("5 steps; reward ")
    assert len(list(read_jsonl(tmp_path / "run" / "metrics.jsonl"))) == len(rows)


def test_lora_on_int8(data, model, tmp_path):
    out = run("lora_on_int8", model, data / "few_records.jsonl", tmp_path / "adapter")
    assert "numbers trained; loss " in out and (tmp_path / "adapter" / "adapter_model.safetensors").exists()
    first, last = out.split("loss ")[1].split(" -> ")
    assert float(last) < float(first)


def test_grpo_as_in_trl(data, model, tmp_path):
    assert run("grpo_as_in_trl", model, data / "train.jsonl", tmp_path / "run").startswith("reward ")


def test_distill_plans(tmp_path):
    pytest.importorskip("openai", reason="the endpoint teacher needs the openai client")
    rows = [{"question": f"{k} + {k}?", "think": f"Twice {k} is {2 * k}.", "answer": str(2 * k)} for k in range(20, 24)]
    write_jsonl(tmp_path / "traces.jsonl", rows)
    arguments = (tmp_path / "traces.jsonl", tmp_path / "records.jsonl", "teacher")
    with TeacherServer(lambda number, messages: Act(text="Double the number.")) as server:
        assert run("distill_plans", *arguments, server.url, OPENAI_API_KEY="none").startswith("4 records, 0 dropped")
        assert run("distill_plans", *arguments, server.url, OPENAI_API_KEY="none").startswith("4 records, 0 dropped")
        assert len(server.bodies) == 4
    assert {row["plan"] for row in list(read_jsonl(tmp_path / "records.jsonl"))} == {"Double the number."}


def test_compare_two_models(data, model):
    out = run("compare_two_models", model, model, data / "few.jsonl")
    assert "B minus A: +0.0 points; p = 1.000" in out and "would usually have been missed" in out


def test_watch_with_a_callback(data, model, tmp_path):
    lines = run("watch_with_a_callback", model, data / "train.jsonl", tmp_path / "run").splitlines()
    assert lines[0].startswith("step 1: reward ") and lines[-1] == "ended after 4 of 4 steps"
