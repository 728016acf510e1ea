"""A model family from outside of the package, by file, by call and by entry point: the worked example of
docs/extending.md, against transformers where it is there and against Llama, whose decoder it is."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from training_toys import policy

import ptagrpo
from ptagrpo.errors import CheckpointError, ConfigError
from ptagrpo.models import ModelConfig, families, family, register_family

PAGE = Path(__file__).resolve().parent.parent / "docs" / "extending.md"
IDS = [[3, 9, 4, 11, 7, 5, 8]]


def example() -> str:
    """The Python file of the page."""
    section = PAGE.read_text(encoding="utf-8").split("## A model family\n")[1]
    return re.search(r"```python\n(.*?)```", section, re.DOTALL)[1]


@pytest.fixture
def mistral(tmp_path, monkeypatch):
    """The example's file and a checkpoint of it, in a folder that is the working folder; Llama's log-probabilities."""
    llama = policy()
    llama.save(tmp_path / "model")
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    config |= {"model_type": "mistral", "architectures": ["MistralForCausalLM"], "sliding_window": None}
    (tmp_path / "model" / "config.json").write_text(json.dumps(config))
    (tmp_path / "mistral.py").write_text(example(), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(family, "_registered", {})
    family._outside.cache_clear()
    yield llama.logprobs(IDS)[0]
    family._outside.cache_clear()
    sys.modules.pop("mistral", None)


def check():
    """The checkpoint is loaded, saved and loaded again as what it is."""
    found = ptagrpo.load("model")
    assert found.config.model_type == "mistral" and found.config.family is families()["mistral"]
    found.save("again")
    assert json.loads(Path("again/config.json").read_text())["architectures"] == ["MistralForCausalLM"]
    assert np.array_equal(ptagrpo.load("again").logprobs(IDS)[0], found.logprobs(IDS)[0])
    return found


def test_by_the_path_of_its_file(mistral, monkeypatch):
    with pytest.raises(CheckpointError, match="'MistralForCausalLM' is not supported"):
        ptagrpo.load("model")
    monkeypatch.setenv("PTAGRPO_FAMILIES", os.pathsep.join(["mistral.py", ""]))
    assert np.array_equal(check().logprobs(IDS)[0], mistral)
    windowed = json.loads(Path("model/config.json").read_text()) | {"sliding_window": 4096}
    with pytest.raises(ConfigError, match="sliding-window attention"):
        ModelConfig.from_dict(windowed)


def test_on_the_command_line(mistral):
    path = os.pathsep.join(filter(None, sys.path))
    environment = {**os.environ, "PTAGRPO_FAMILIES": "mistral.py", "PYTHONPATH": path}
    command = [
        sys.executable,
        "-m",
        "ptagrpo",
        "generate",
        "model",
        "--prompt",
        "what is",
        "--max_new_tokens",
        "3",
    ]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_by_a_call(mistral):
    assert register_family("mistral.py") is register_family(Path("mistral.py"))
    assert np.array_equal(check().logprobs(IDS)[0], mistral)


def test_by_an_entry_point(mistral, tmp_path, monkeypatch):
    info = tmp_path / "mistral_family-0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mistral-family\nVersion: 0.1\n")
    (info / "entry_points.txt").write_text("[ptagrpo.families]\nmistral = mistral\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert np.array_equal(check().logprobs(IDS)[0], mistral)


def test_it_trains(mistral):
    from ptagrpo import GRPOConfig, GRPOTrainer

    register_family("mistral.py")
    args = GRPOConfig(
        output_dir="run", num_generations=2, max_completion_length=4, max_steps=1, disable_tqdm=True
    )
    rows = [{"prompt": "what is 1 + 1 ?", "answer": "2"}]
    trainer = GRPOTrainer("model", [lambda completions, **_: [0.5, 1.0]], args, rows)
    assert trainer.train().global_step == 1


def test_against_transformers(mistral):
    """Log-probabilities of the same folder in transformers, float64."""
    for module in ("torch", "transformers"):
        pytest.importorskip(module, reason=f"{module} is not installed: Llama is the yardstick")
    import torch
    import transformers

    register_family("mistral.py")
    theirs = transformers.AutoModelForCausalLM.from_pretrained("model", dtype=torch.float64)
    assert type(theirs).__name__ == "MistralForCausalLM"
    with torch.no_grad():
        logits = theirs(torch.tensor(IDS)).logits[0, :-1]
    truth = logits.log_softmax(-1).gather(-1, torch.tensor(IDS)[0, 1:, None])[:, 0].numpy()
    assert np.abs(ptagrpo.load("model").logprobs(IDS)[0] - truth).max() < 1e-5


def test_what_is_wrong_with_it_is_told(mistral, monkeypatch):
    for name, text, told in (
        ("none.py", None, "there is no file none.py"),
        ("broken.py", "1 / 0", "cannot be run: ZeroDivisionError"),
        ("empty.py", "", "expected a FamilySpec, or a module with FAMILY, got module"),
        (
            "second.py",
            example().replace("mistral", "llama", 1).replace('"mistral"', '"llama"'),
            "exists already",
        ),
    ):
        if text is not None:
            Path(name).write_text(text)
        monkeypatch.setenv("PTAGRPO_FAMILIES", name)
        with pytest.raises(CheckpointError, match=rf"model family '{name}' of PTAGRPO_FAMILIES: .*{told}"):
            ptagrpo.load("model")
        monkeypatch.delenv("PTAGRPO_FAMILIES")
        with pytest.raises(ConfigError, match=rf"model family '{name}': .*{told}"):
            register_family(name)
