"""The notebooks run from the first cell to the last, much shortened. The quickstart's is kept without outputs, the
others with those of a whole run, so that they read well unrun."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOK = ROOT / "notebooks" / "quickstart.ipynb"

nbformat = pytest.importorskip("nbformat", reason="running notebooks needs nbformat")
nbclient = pytest.importorskip("nbclient", reason="running notebooks needs nbclient")
pytest.importorskip("ipykernel", reason="running notebooks needs ipykernel")


def test_outputs_are_stripped():
    for cell in nbformat.read(NOTEBOOK, as_version=4).cells:
        if cell.cell_type == "code":
            assert cell.outputs == [] and cell.execution_count is None


def test_the_quickstart_notebook_runs(tmp_path, monkeypatch):
    monkeypatch.setenv("PTAGRPO_NOTEBOOK_QUICK", "1")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3").execute(cwd=str(tmp_path))
    text = "".join(
        output.get("text", "")
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if output.get("name") == "stdout"
    )
    assert "164288 parameters; 32 words" in text
    assert "PTA-GRPO minus Cold start on the same 24 questions" in text
    assert "right answer:" in text
    run = next(tmp_path.glob("ptagrpo-notebook-*"))
    assert (run / "model" / "model.safetensors").exists() and (run / "trees.html").exists()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("own_data", ["numbers trained", "own reward", "adapter_model.safetensors"]),
        ("plan_explorer", ["trees of steps", "plan/success_mean", "view.html"]),
        ("evaluation", ["avg@4", "PTA-GRPO minus cold start", "c None no_answer"]),
    ],
)
def test_a_notebook_runs_and_shows_what_it_was_kept_with(name, said, tmp_path, monkeypatch):
    monkeypatch.setenv("PTAGRPO_NOTEBOOK_QUICK", "1")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    path = NOTEBOOK.with_name(f"{name}.ipynb")
    kept, run = nbformat.read(path, as_version=4), nbformat.read(path, as_version=4)
    nbclient.NotebookClient(run, timeout=240, kernel_name="python3").execute(cwd=str(tmp_path))
    for notebook in (kept, run):
        outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
        text = "".join(o["text"] for o in outputs if o.get("name") == "stdout")
        assert all(words in text for words in said)
        assert any("image/png" in o.get("data", {}) for o in outputs)
        assert not [o for o in outputs if o["output_type"] == "error"]
    assert all(cell.outputs for cell in kept.cells if cell.cell_type == "code" and "print" in cell.source)
