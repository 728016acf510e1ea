"""docs/recipes.md: every block runs, in the order of the page, on a small model of random weights and for one step.

A block that cannot run says why in a comment above it.
"""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from ptagrpo.cli import main
from ptagrpo.io import read_jsonl, write_jsonl

PAGE = (Path(__file__).resolve().parent.parent / "docs" / "recipes.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^(?:<!-- not run: (?P<reason>[^\n]+) -->\n)?```(?P<kind>\w+)\n(?P<text>.*?)^```", re.M | re.S)
BLOCKS = list(BLOCK.finditer(PAGE))
STAND_INS = {  # what a recipe says -> what is small enough for a test
    "Qwen/Qwen3-0.6B": "model",
    "max_steps=200": "max_steps=1, max_completion_length=16, disable_tqdm=True",
    "max_new_tokens=512": "max_new_tokens=16, progress=False",
    "--max_new_tokens 512": "--max_new_tokens 8 --no_progress",
}


def small(text: str) -> str:
    for said, tried in STAND_INS.items():
        text = text.replace(said, tried)
    return text


def small_command(line: str) -> list[str]:
    words = shlex.split(small(line))
    assert words.pop(0) == "ptagrpo", line
    if words[0] in ("train", "sft"):
        words[words.index("--max_steps") + 1] = "1"
        words += ["--max_completion_length", "16"] if words[0] == "train" else []
    return words


@pytest.fixture
def folder(tmp_path, monkeypatch, tiny_policy):
    tiny_policy("llama", seed=1).save(tmp_path / "model")
    rows = [{"question": f"{n}+1?", "answer": str(n + 1)} for n in range(12)]
    write_jsonl(tmp_path / "questions.jsonl", rows)
    write_jsonl(tmp_path / "records.jsonl", [{**row, "plan": "Count on.", "think": "One more."} for row in rows])
    write_jsonl(tmp_path / "responses.jsonl", [{"response": "It is \\boxed{2}", "answer": str(n)} for n in (2, 3)])
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::RuntimeWarning")
def test_the_blocks_run_in_order(folder):
    for block in BLOCKS:
        if block["reason"]:
            continue
        if block["kind"] == "python":
            code = small(block["text"])
            exec(compile(code, "recipe.py", "exec"), {"__name__": "recipe"})
        for line in block["text"].splitlines() if block["kind"] == "sh" else ():
            assert main(small_command(line)) == 0, line
    runs = folder / "runs"
    assert (runs / "lora" / "adapter_model.safetensors").exists()
    for name in ("cold", "reward", "verl", "grpo", "dapo", "dr_grpo", "hierarchical", "best", "long"):
        assert list(read_jsonl(runs / name / "metrics.jsonl")), name
    assert not (runs / "small").exists(), "a dry run leaves nothing"
    columns = list(read_jsonl(runs / "reward" / "metrics.jsonl"))[0]
    assert "rewards/server/mean" in columns  # random weights close no plan: short_plan has nothing to say
    for name in ("cot", "plan", "vote"):
        assert next((runs / name).rglob("summary.json")), name
    graded = [row["status"] for row in read_jsonl(folder / "graded.jsonl")]
    assert graded == ["correct", "wrong"], json.dumps(graded)


def test_what_is_not_run_is_said_and_little():
    assert len(BLOCKS) >= 14 and PAGE.count("```") == 2 * len(BLOCKS)
    assert sum(bool(block["reason"]) for block in BLOCKS) <= 5
    assert PAGE.count("<!-- not run") == sum(bool(block["reason"]) for block in BLOCKS)
