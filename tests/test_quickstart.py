"""`ptagrpo quickstart`, much shortened: every file it promises, the same numbers after a kill, honest
refusals.

That reinforcement learning improves held-out accuracy is shown over five seeds by bench/quickstart_seeds.py.
"""

from __future__ import annotations

import importlib.util
import io
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

import ptagrpo
from ptagrpo.data import chains
from ptagrpo.errors import ConfigError
from ptagrpo.quickstart import QuickstartSettings, run_quickstart, stages

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("quickstart")
    text = io.StringIO()
    summary = run_quickstart(folder, seed=3, quick=True, progress=False, console=Console(file=text, width=80))
    return folder, summary, text.getvalue()


def test_every_file_is_there_and_agrees(finished):
    folder, summary, _ = finished
    results = json.loads((folder / "results.json").read_text())
    samples = [json.loads(line) for line in (folder / "held_out.jsonl").read_text().splitlines()]
    settings = QuickstartSettings.quick()
    for name in ("Base", "Cold start", "PTA-GRPO", "GRPO"):
        mine = [s for s in samples if s["model"] == name]
        entry = results["held_out"][name]
        assert len(mine) == entry["questions"] == settings.held_out
        assert sum(s["correct"] for s in mine) == entry["accuracy"]["right"]
        assert np.mean([s["tokens"] for s in mine]) == pytest.approx(entry["mean_tokens"])
        assert {s["question"] for s in mine} == {s["question"] for s in samples}
    metrics = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert {row["stage"] for row in metrics} == {"base", "cold_start", "pta_grpo", "grpo"}
    rl = [row for row in metrics if row["stage"] == "pta_grpo"]
    assert len(rl) == 2 * settings.rollouts and "rewards/plan_right/mean" in rl[0]
    assert (folder / "curves.png").read_bytes()[:4] == b"\x89PNG"
    page = (folder / "trees.html").read_text()
    assert page.count('class="q"') == settings.trees and page.count("<details") == 2 * 12 * settings.trees
    assert all(path.exists() for path in summary.files.values())


def test_the_terminal_shows_the_table_whole(finished):
    _, _, text = finished
    assert all(len(line.rstrip()) <= 80 for line in text.splitlines())
    assert "…" not in text
    for name in ("Base", "Cold start", "PTA-GRPO", "GRPO", "tokens", "smoke test"):
        assert name in text


def test_the_saved_model_answers_as_the_trained_one(finished):
    folder, summary, _ = finished
    policy = ptagrpo.load(folder / "model")
    test = chains.questions(summary.settings.held_out, split="test", seed=4_000_000 + 3)
    assert stages.answer_held_out(policy, test, "PTA-GRPO", 3) == summary.models["PTA-GRPO"]


def test_both_algorithms_get_the_same_start_questions_and_budget(finished):
    folder, _, _ = finished
    rows = {
        name: [
            json.loads(line)
            for path in sorted((folder / name / "completions").glob("*.jsonl"))
            for line in path.read_text().splitlines()
        ]
        for name in ("pta_grpo", "grpo")
    }
    assert len(rows["pta_grpo"]) == len(rows["grpo"]) == 3 * 4 * 12
    assert [r["prompt"] for r in rows["pta_grpo"]] == [r["prompt"] for r in rows["grpo"]]
    settings = QuickstartSettings()
    tree, flat = settings.pta_grpo(folder, 0).to_dict(), settings.grpo(folder, 0).to_dict()
    differing = {name for name in flat if flat[name] != tree[name]}
    assert differing == {"algorithm", "run_name", "plan_reward_weight"}


def test_a_finished_run_repeats_itself_and_another_seed_is_refused(finished):
    folder, summary, _ = finished
    quiet = Console(file=io.StringIO())
    again = run_quickstart(folder, seed=3, quick=True, progress=False, console=quiet)
    assert again.models == summary.models and again.tokens == summary.tokens
    with pytest.raises(ConfigError, match="seed 3, asked for 4"):
        run_quickstart(folder, seed=4, quick=True, progress=False, console=quiet)
    with pytest.raises(ConfigError, match="settings"):
        run_quickstart(folder, seed=3, progress=False, console=quiet)


SCRIPT = """
import io, sys
from rich.console import Console
from ptagrpo.quickstart import run_quickstart
run_quickstart(sys.argv[1], seed=3, quick=True, progress=False, console=Console(file=io.StringIO()))
"""


@pytest.mark.parametrize("stage", ["base", "pta_grpo", "grpo"])
def test_a_killed_quickstart_ends_as_one_that_was_not(finished, tmp_path, stage):
    folder, _, _ = finished
    child = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(tmp_path)], cwd=tmp_path
    )
    deadline = time.monotonic() + 120
    while not (tmp_path / stage / "metrics.jsonl").exists() and child.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.002)
    child.send_signal(signal.SIGKILL)
    child.wait()
    subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path)],
        check=True,
        cwd=tmp_path,
        timeout=120,
    )
    for name in ("held_out.jsonl", "metrics.jsonl", "trees.html", "model/model.safetensors"):
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes(), name


def test_the_base_is_checked_with_the_plan_it_is_given():
    """A stand-in policy that reasons rightly about whatever plan it is handed scores 100 %, one that babbles
    0 %."""

    class Reasoner:
        def __init__(self, right: bool):
            self.right = right

        def generate(self, prompts, **_):
            found = []
            for prompt in prompts:
                question, plan = prompt.split(" <plan> ")
                problem = chains.parse_question(question)
                assert plan == f"{' '.join(problem.plan)} </plan>"
                think, answer = problem.think()
                answer = answer if self.right else str((int(answer) + 1) % 7)
                text = f" <think> {think} </think> <answer> {answer} </answer>"
                found.append([type("Completion", (), {"text": text})])
            return found

    checks = chains.questions(8, split="train", seed=1)
    assert stages.reasoning_under_right_plan(Reasoner(True), checks, 0).value == 1.0
    assert stages.reasoning_under_right_plan(Reasoner(False), checks, 0).value == 0.0


def test_plan_right_is_a_reward_of_trl_shape():
    assert stages.plan_right(plans=["Hal Cat", "Hal", None], gold_plan=["Hal Cat"] * 3, completions=[]) == [
        1.0,
        0.0,
        0.0,
    ]


def test_training_and_test_questions_of_a_run_never_meet():
    settings = QuickstartSettings()
    test = {p.structure() for p in chains.problems(settings.held_out, split="test", seed=4_000_000)}
    train = {p.structure() for p in chains.problems(2000, split="train", seed=1_000_000)}
    assert not test & train


def test_the_bench_writes_a_table_of_what_the_runs_say(finished):
    spec = importlib.util.spec_from_file_location("quickstart_seeds", ROOT / "bench" / "quickstart_seeds.py")
    bench = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(bench)
    run = json.loads((finished[0] / "results.json").read_text())
    run["machine"] = {"cores": 2, "simd": "avx2", "load_before": 0.1, "load_after": 2.0}
    text = bench.table([run])
    entry = run["held_out"]["PTA-GRPO"]["accuracy"]
    assert f"{100 * entry['value']:.1f} ±" in text and "in 0 of 1 seeds" in text or "in 1 of 1 seeds" in text
    assert text.count("\n| 3 |") == 2
