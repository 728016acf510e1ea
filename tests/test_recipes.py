"""docs/recipes.md: every block runs, in the order of the page, with a small model, few steps and few tokens."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest

import ptagrpo
from ptagrpo.data import chains
from ptagrpo.io import write_jsonl

PAGE = (Path(__file__).resolve().parent.parent / "docs" / "recipes.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^(<!-- not run[^\n]*-->\n)?```(python|sh)\n(.*?)^```", PAGE, re.M | re.S)
SMALL = {
    r"\bMODEL\b": "model",
    r"max_steps([= ])\d+": r"max_steps\g<1>2",
    r"num_train_epochs \d+": "max_steps 2",
    r"(eval|save)_steps=\d+": r"\g<1>_steps=1",
    r"--k \d+": "--k 2",
}
FEW_TOKENS = "--max_completion_length 12 --answer_kind exact --prompt_style raw --disable_tqdm true"


def small(text: str) -> str:
    for pattern, replacement in SMALL.items():
        text = re.sub(pattern, replacement, text)
    text = re.sub(r"(\w*Config\()(?=[^)]*output_dir)", r"\g<1>prompt_style='raw', answer_kind='exact', disable_tqdm=True, ", text)
    if "max_completion_length" not in text:
        text = text.replace("disable_tqdm=True, ", "disable_tqdm=True, max_completion_length=12, ")
    lines = []
    for line in text.splitlines():
        if line.startswith("ptagrpo train"):
            line += f" {FEW_TOKENS}"
        if line.startswith("ptagrpo sft"):
            line += " --disable_tqdm true"
        if line.startswith("ptagrpo eval ") and "--responses" not in line:
            line += " --max_new_tokens 8 --kind exact --no_progress" + ("" if "--prompting" in line else " --prompt_style raw")
        lines.append(line)
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model, data and somebody's responses."""
    root = tmp_path_factory.mktemp("recipes")
    tokenizer = chains.build_tokenizer()
    config = {
        "model_type": "qwen2", "vocab_size": tokenizer.vocab_size, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
        "num_attention_heads": 2, "num_key_value_heads": 1, "tie_word_embeddings": True, "rms_norm_eps": 1e-6,
    }  # fmt: skip
    ptagrpo.Policy.from_config(config, tokenizer).save(root / "model")
    rows = [{"question": f"who has {n} ?", "answer": str(n % 10)} for n in range(8)]
    write_jsonl(root / "train.jsonl", rows)
    write_jsonl(root / "test.jsonl", [{**row, "id": str(n)} for n, row in enumerate(rows[:4])])
    text = "<plan> look </plan> <think> it is 1 </think> <answer> 1 </answer>"
    write_jsonl(root / "records.jsonl", [{"prompt": row["question"], "completion": text} for row in rows])
    response = {"id": "0", "response": "so \\boxed{2}", "answer": "2", "problem": "What is 1 + 1?"}
    write_jsonl(root / "responses.jsonl", [response])
    (root / "bin").mkdir()
    script = root / "bin" / "ptagrpo"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m ptagrpo "$@"\n', encoding="utf-8")
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    return root


def test_the_page_has_them_all():
    assert len(BLOCKS) >= 14 and sum(bool(note) for note, _, _ in BLOCKS) == 1


def test_every_block_runs(folder):
    """In two processes, all Python blocks and all lines of the shell in the order of the page would need what the other
    leaves: so one after the other, each in a process of its own, Python blocks in one that is forked from a warm one."""
    environment = {**os.environ, "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
                   "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}  # fmt: skip
    for number, (note, language, text) in enumerate(BLOCKS):
        if note:
            continue
        command = [sys.executable, "-c", small(text)] if language == "python" else ["bash", "-ec", small(text)]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, f"block {number}:\n{small(text)}\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}"
    assert (folder / "adapter" / "adapter_model.safetensors").exists()
    assert (folder / "merged" / "model.safetensors").exists()
    assert "<html" in (folder / "runs" / "rl" / "view.html").read_text(encoding="utf-8")
    graded = json.loads((folder / "graded.jsonl").read_text(encoding="utf-8").splitlines()[0])
    assert graded["status"] == "correct"
