"""Python blocks of pages that are no recipes run as they stand, on a small model in place of the one that they name."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import ptagrpo

DOCS = Path(__file__).resolve().parent.parent / "docs"


@pytest.fixture
def names(tmp_path, monkeypatch, tiny_policy):
    """What the pages take for granted: a model folder, `rows`, and `args` of a run of one step."""
    tiny_policy("llama", seed=1).save(tmp_path / "model")
    rows = [{"prompt": f"{n}+1?", "answer": str(n + 1)} for n in range(12)]
    monkeypatch.chdir(tmp_path)
    args = ptagrpo.PTAGRPOConfig(
        output_dir="run", max_steps=1, max_completion_length=16, save_steps=1, disable_tqdm=True
    )
    return {"ptagrpo": ptagrpo, "rows": rows, "args": args}


def run(page: str, names: dict, **stand_ins: str) -> dict:
    """Run all Python blocks of a page in one namespace; each stand-in must be there to replace."""
    blocks = re.findall(r"^```python\n(.*?)^```", (DOCS / page).read_text(encoding="utf-8"), re.M | re.S)
    assert blocks
    code = "\n".join(blocks)
    for said, tried in stand_ins.items():
        assert said in code, f"{page} says {said!r} no more"
        code = code.replace(said, tried)
    exec(compile(code, page, "exec"), names)
    return names


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::RuntimeWarning")
def test_lora(names):
    short = "beta=0.01, max_steps=1, max_completion_length=16, disable_tqdm=True"
    run("lora.md", names, **{"path/to/base": "model", "beta=0.01": short})
    assert Path("adapter/adapter_model.safetensors").exists() and Path("merged/model.safetensors").exists()
    assert ptagrpo.load("merged").num_parameters == ptagrpo.load("model").num_parameters


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::RuntimeWarning")
def test_quantization_and_resume(names):
    run("quantization.md", names, **{"Qwen/Qwen3-14B": "model"})
    run("resume.md", names)
    first = {path.name: path.read_bytes() for path in Path("run/checkpoint-1").iterdir()}
    run("resume.md", names)
    assert first == {path.name: path.read_bytes() for path in Path("run/checkpoint-1").iterdir()}
