"""What a run leaves to watch it by: stored trees (bounded, with values of tokens), tables, other tools' metrics."""

from __future__ import annotations

import gzip
import json
import re
import sys
import types
import warnings

import numpy as np
import pytest
import training_toys
import viewer_runs
from rich.console import Console
from rl_helpers import answer_text, flat, tree
from test_rl_training import tree as tree_trainer

import ptagrpo
from ptagrpo.cli.main import main
from ptagrpo.errors import ConfigError, DataError
from ptagrpo.plan_tree import PlanTree
from ptagrpo.training import SFTConfig, reporting
from ptagrpo.training.samples import sample_table
from ptagrpo.training.step_files import StepFiles, drop_after, list_steps
from ptagrpo.viewer import RunFiles, load_trees, watch, write_page
from ptagrpo.viewer.payload import ChunkCache, payload


def group():
    texts = [answer_text(True), answer_text(False), "<plan> <b>never closed", answer_text(True)]
    made = tree(np.random.default_rng(0), "q", [2, 3], [[4, 5], [3, 6]], texts=texts)
    for response, right in zip(made.responses, (True, False, False, True), strict=True):
        response.correct, response.reward = right, float(right)
        response.rewards = {"outcome": float(right), "structure": None}
    made.plan_scores, made.plan_rewards = [0.5, 0.5], [0.5, 0.5]
    return made


# Stored trees.


def test_a_tree_survives_its_row():
    kept = PlanTree.from_group(group(), 3)
    assert (kept.right, len(kept.chains), kept.tie, kept.unclosed) == (2, 4, True, 1)
    assert PlanTree.from_row(json.loads(json.dumps(kept.to_row()))) == kept
    with pytest.raises(DataError, match="not a plan tree"):
        PlanTree.from_row({"id": "q", "prompt": "p"})


def test_trees_show_themselves_in_notebooks_and_terminals():
    html = group()._repr_html_()
    assert html.count("<details>") == 4 and "2 of 4 chains right" in html and "all plans score alike" in html
    assert "<script" not in html and "<style" not in html and "class=" not in html
    assert "<b>never" not in html and "&lt;b&gt;never closed" in html
    console = Console(width=100, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(group())
    text = console.export_text()
    assert (
        text.count("✓") == 4 and text.count("✗") == 4 and "plan not closed" in text and "reward 0.50" in text
    )


def test_a_folder_of_trees_is_bounded_and_spread_over_the_run(tmp_path):
    store = StepFiles(tmp_path, "trees", 0.02, compress=False)
    rows = [{"text": "x" * 1000}]
    for step in range(1, 101):
        store.write(step, rows)
    steps = list(list_steps(tmp_path / "trees"))
    assert sum(file.stat().st_size for file in (tmp_path / "trees").iterdir()) <= 20_000
    assert len(steps) == 19 and steps[0] == 1 and steps[-1] == 100
    gaps = np.diff(steps)
    assert gaps.max() <= 4 * gaps.min() and gaps.max() <= 16
    drop_after(tmp_path / "trees", 50)
    assert max(list_steps(tmp_path / "trees")) <= 50


def test_a_full_disk_is_a_warning_and_not_the_end(tmp_path):
    (tmp_path / "trees").write_text("a file where a folder should be")
    trainer = tree_trainer(tmp_path, [training_toys.short], max_steps=3)
    with pytest.warns(RuntimeWarning, match="could not be stored") as caught:
        trainer.train()
    assert trainer.state.global_step == 3
    assert sum("could not be stored" in str(w.message) for w in caught) == 1


def test_values_of_tokens_are_stored_when_asked_for(tmp_path):
    options = {"max_steps": 4, "per_device_train_batch_size": 8, "num_iterations": 2, "learning_rate": 0.05}
    trainer = tree_trainer(tmp_path / "a", [training_toys.short], log_token_stats=True, log_completions=True,
                           num_completions_to_print=0, max_tokens_per_micro_batch=1, **options)  # fmt: skip
    trainer.train()
    assert list(list_steps(tmp_path / "a" / "trees")) == [1, 3]
    first = load_trees(tmp_path / "a", 1)
    text = (tmp_path / "a/completions/completions_00001.jsonl").read_text().splitlines()
    by_question = iter(json.loads(line)["completion"] for line in text)
    ratios = []
    for each in first:
        for plan in each.plans:
            for chain in plan.chains:
                parts = [part.tokens for part in (plan, chain) if part.tokens]
                pieces = [piece for part in parts for piece in part.pieces]
                whole = next(by_question)
                assert re.sub("<(eos|pad|bos)>", "", "".join(pieces)).split() == whole.split()
                assert sum(map(len, (part.logprobs for part in parts))) == len(pieces) == chain.length
                assert all(value <= 0 for part in parts for value in part.logprobs)
                ratios += [value for part in parts for value in part.ratios]
    row = trainer.state.log_history[1]  # the second use of the rollout: its ratios are those that are stored
    assert max(ratios) == pytest.approx(row["ratio/max"], abs=2e-3)
    assert min(ratios) == pytest.approx(row["ratio/min"], abs=2e-3)
    assert min(ratios) < 0.999 and max(ratios) > 1.001
    plain = tree_trainer(tmp_path / "b", [training_toys.short], max_tokens_per_micro_batch=1, **options)
    plain.train()
    assert training_toys.result(tmp_path / "a", 4) == training_toys.result(tmp_path / "b", 4)
    assert not any(chain.tokens for each in load_trees(tmp_path / "b") for chain in each.chains)
    with pytest.raises(DataError, match="step 2; the nearest that is: 1"):
        load_trees(tmp_path / "b", 2)


def test_storing_nothing(tmp_path):
    tree_trainer(tmp_path, [training_toys.short], store_trees=False).train()
    assert not (tmp_path / "trees").exists() and not (tmp_path / "completions").exists()


# The table of samples.


def test_the_table_of_samples():
    groups = [group(), flat(np.random.default_rng(1), "r", [2, 2, 2], texts=[answer_text(True)] * 3)]
    assert sample_table(groups, 5).row_count == 7
    assert sample_table(groups, 5, limit=3).row_count == 3
    assert sample_table(groups, 5, unique_prompts=True).row_count == 2
    console = Console(width=120, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(sample_table(groups, 5, limit=2))
    text = console.export_text()
    assert "Step 5" in text and "structure" in text and "advantage" in text


def test_training_prints_it_when_metrics_are_logged(tmp_path, capsys):
    tree_trainer(tmp_path, [training_toys.short], max_steps=4, logging_steps=2, log_completions=True,
                 num_completions_to_print=1).train()  # fmt: skip
    text = capsys.readouterr().out
    assert "Step 2" in text and "Step 4" in text and "Step 1" not in text and "Step 3" not in text


# Other tools.


class Backend(types.ModuleType):
    """A module with the interface of Weights & Biases; fails from a step on."""

    def __init__(self, fail_from=10**9):
        super().__init__("wandb")
        self.rows, self.finished, self.fail_from = [], 0, fail_from

    def init(self, **kwargs):
        self.config = kwargs
        return self

    def log(self, numbers, step):
        if step >= self.fail_from:
            raise ConnectionError("the server is down")
        self.rows.append((step, numbers))

    def finish(self):
        self.finished += 1


def test_metrics_go_to_a_backend(tmp_path, monkeypatch):
    backend = Backend()
    monkeypatch.setitem(sys.modules, "wandb", backend)
    trainer = tree_trainer(tmp_path, [training_toys.short], max_steps=3, report_to=["wandb"])
    trainer.train()
    assert [step for step, _ in backend.rows] == [1, 2, 3] and backend.finished == 1
    assert backend.rows[1][1]["reward"] == trainer.state.log_history[1]["reward"]
    assert backend.config["name"] == tmp_path.name and backend.config["config"]["max_steps"] == 3


def test_a_backend_that_goes_down_is_told_once_and_the_run_goes_on(tmp_path, monkeypatch):
    backend = Backend(fail_from=2)
    monkeypatch.setitem(sys.modules, "wandb", backend)
    trainer = tree_trainer(tmp_path / "a", [training_toys.short], max_steps=4, report_to="wandb")
    with pytest.warns(RuntimeWarning, match="server is down. The run goes on without it") as caught:
        trainer.train()
    assert sum("server is down" in str(w.message) for w in caught) == 1
    assert len(backend.rows) == 1 and len(trainer.state.log_history) == 4
    tree_trainer(tmp_path / "b", [training_toys.short], max_steps=4).train()
    assert training_toys.result(tmp_path / "a", 4) == training_toys.result(tmp_path / "b", 4)


def test_a_missing_package_is_an_error_at_the_start(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "trackio", None)
    with pytest.raises(ConfigError, match="the package trackio cannot be imported"):
        tree_trainer(tmp_path, [training_toys.short], report_to="trackio")
    with pytest.raises(ConfigError, match="Did you mean 'tensorboard'"):
        SFTConfig(report_to="tensorbord")
    assert reporting.reporters("none") == [] and reporting.reporters(None) == []


def test_tensorboard_files(tmp_path):
    pytest.importorskip("tensorboardX", reason="tensorboardX is not installed")
    tree_trainer(tmp_path, [training_toys.short], max_steps=2, report_to="tensorboard").train()
    assert b"reward" in b"".join(file.read_bytes() for file in (tmp_path / "runs").iterdir())


# The page's data.


def test_the_page_of_a_run(tmp_path):
    tree_trainer(tmp_path, [training_toys.short], max_steps=3).train()
    page = write_page(tmp_path)
    text = page.read_text()
    assert page == tmp_path / "view.html" and "default-src 'none'" in text
    assert not any(
        mark in text for mark in ("http://www.w3.org/1999", "https://", "@HEAD@", "@SCRIPT@", 'src="')
    )
    assert text.count('id="chunk-') == 3


def test_the_command_writes_the_page(tmp_path, capsys):
    viewer_runs.write_run(tmp_path, 2, 2)
    assert main(["view", str(tmp_path), "--output", str(tmp_path / "site" / "page.html")]) == 0
    assert "open it in a browser" in capsys.readouterr().out and (tmp_path / "site" / "page.html").is_file()
    assert main(["view", str(tmp_path), "--limit_mb", "0"]) == 2
    assert main(["view", str(tmp_path / "nowhere")]) == 2
    assert "no such folder" in capsys.readouterr().err


def test_a_page_is_bounded(tmp_path):
    viewer_runs.write_run(tmp_path, 30, 5)
    files = RunFiles(tmp_path)
    whole, half = payload(files, ChunkCache()), payload(files, ChunkCache(), 0.015)
    assert len(whole["chunks"]) == 30 and 3 <= len(half["chunks"]) < 20
    assert sum(map(len, half["chunks"])) <= 15_000


def test_damaged_and_old_files(tmp_path):
    viewer_runs.write_run(tmp_path, 3, 2)
    old = gzip.decompress((tmp_path / "trees/trees_00001.jsonl.gz").read_bytes())
    (tmp_path / "trees/trees_00001.jsonl.gz").unlink()
    (tmp_path / "trees/trees_00001.jsonl").write_bytes(old)  # as earlier versions wrote them
    whole = (tmp_path / "trees/trees_00002.jsonl.gz").read_bytes()
    (tmp_path / "trees/trees_00002.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.warns(RuntimeWarning, match="left out of the page"):
        assert len(payload(RunFiles(tmp_path), ChunkCache())["chunks"]) == 2
    with pytest.raises(DataError, match="trees_00002"):
        load_trees(tmp_path)
    assert len(ptagrpo.load_trees(tmp_path, 1)) == 2


def test_a_folder_that_is_no_run_is_refused_with_what_lies_below(tmp_path):
    (tmp_path / "pta_grpo").mkdir()
    (tmp_path / "pta_grpo" / "metrics.jsonl").write_text("")
    with pytest.raises(DataError, match="runs below it: pta_grpo"):
        write_page(tmp_path)
    with pytest.raises(DataError, match="no such folder"):
        write_page(tmp_path / "nowhere")
    with pytest.raises(DataError, match="is a file. Give the output_dir"):
        write_page(tmp_path / "pta_grpo" / "metrics.jsonl")


def test_watching_writes_the_page_again_after_a_change(tmp_path, monkeypatch):
    viewer_runs.write_run(tmp_path, 2, 2)
    looks, written = [], []

    def sleep(seconds):
        looks.append(seconds)
        if len(looks) == 2:
            with open(tmp_path / "metrics.jsonl", "a") as log:
                log.write('{"step": 3, "loss": 0.5}\n')
        if len(looks) == 4:
            raise KeyboardInterrupt

    monkeypatch.setattr("time.sleep", sleep)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        page = watch(tmp_path, interval=0.5, wrote=written.append)
    assert len(written) == 2 and looks == [0.5] * 4 and 'data-reload="0"' in page.read_text()
