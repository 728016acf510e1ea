"""Studies: equal budgets and starts, cells that resume and never run twice, numbers that are right."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import training_toys
import yaml

from ptagrpo.cli import main
from ptagrpo.errors import ConfigError, ResumeError
from ptagrpo.io import write_jsonl
from ptagrpo.statistics import sign_flip
from ptagrpo.study import StudySpec, Variant, ablate, analyse, compare, make_task, run_study, sweep
from ptagrpo.study import cell as cells
from ptagrpo.study.analysis import verdict
from ptagrpo.study.budget import Budget
from ptagrpo.study.spec import check_fair, configuration
from ptagrpo.study.variants import START

CONFIGS = Path(__file__).resolve().parent.parent / "configs" / "study"
TINY = {
    "seeds": 2, "rollouts": 3, "questions_per_rollout": 4, "test_questions": 10, "eval_samples": 2,
    "chains": {"lengths": [2], "base_steps": 4, "cold_steps": 3},
    "settings": {"num_plans": 2, "cots_per_plan": 2, "length_reward_weight": 0.0, "structure_reward": 0.2,
                 "max_completion_length": 20, "max_plan_length": 5, "save_steps": 1},
}  # fmt: skip


def spec(folder, **changes):
    return StudySpec(**{**TINY, "output_dir": str(folder), **changes})


def silent(*_, **__):
    pass


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    study = spec(folder)
    said = []
    variants, pairs = compare(study, ["pta_grpo", "grpo"])
    return folder, study, run_study(study, variants, pairs, title="T", say=said.append), said


def test_the_report_is_there_and_every_cell_has_its_result(finished):
    folder, study, numbers, said = finished
    for name in ("report.md", "results.json", "results.png", "training.png"):
        assert (folder / name).stat().st_size > 100
    assert json.loads((folder / "results.json").read_text()) == json.loads(json.dumps(numbers))
    results = [json.loads(p.read_text()) for p in sorted(folder.glob("cells/*/*/result.json"))]
    assert len(results) == 6 and "6 cells (2 seeds), 0 finished" in said[0]
    for result in results:
        assert len(result["evaluation"]["accuracy"]) == 10 == len(result["evaluation"]["first"])
        trained = result["variant"] != "start"
        assert result["spent"]["responses"] == (3 * 4 * 4 if trained else 0)
        assert (result["spent"]["tokens"] > 0) == trained and len(result["curve"]) == (3 if trained else 0)
    assert len({r["evaluation"]["questions"] for r in results}) == 1  # the same questions
    assert len({(r["seed"], r["start"]) for r in results}) == 2  # one start a seed
    by_hand = np.mean([r["evaluation"]["accuracy"] for r in results if r["variant"] == "grpo"])
    assert numbers["variants"]["grpo"]["accuracy"]["mean"] == pytest.approx(by_hand)


def test_a_finished_cell_is_never_run_again(finished, monkeypatch):
    folder, study, numbers, _ = finished
    monkeypatch.setattr(cells, "_train", None)
    monkeypatch.setattr(cells, "_evaluate", None)
    again = run_study(study, *compare(study, ["pta_grpo", "grpo"]), title="T", say=silent)
    assert again == numbers


def test_other_settings_in_the_same_folder_are_refused_by_name(finished):
    folder, study, *_ = finished
    other = spec(folder, settings={**TINY["settings"], "learning_rate": 3e-4})
    with pytest.raises(ConfigError, match=r"settings.learning_rate: 0.001 there, 0.0003 now"):
        run_study(other, *compare(other, ["pta_grpo", "grpo"]), title="T", say=silent)
    other = spec(folder, chains={**TINY["chains"], "cold_steps": 4})
    with pytest.raises(ConfigError, match="cold_steps: 3 there, 4 now"):
        run_study(other, *compare(other, ["pta_grpo", "grpo"]), title="T", say=silent)
    (result,) = folder.glob("cells/start/seed-0/result.json")
    text = result.read_text()
    result.write_text("{}")
    with pytest.raises(ConfigError, match="delete it to run it again"):
        run_study(study, *compare(study, ["pta_grpo", "grpo"]), title="T", say=silent)
    result.write_text(text)


@pytest.mark.parametrize("stopped_at", [1, 4])
def test_a_stopped_cell_goes_on_from_its_checkpoint_to_the_same_result(
    finished, tmp_path, monkeypatch, stopped_at
):
    folder, _, numbers, _ = finished
    study = spec(tmp_path)
    steps = []

    def stop(self, args, state, control, **kwargs):
        steps.append(state.global_step)
        if state.global_step == stopped_at:
            raise SystemExit(3)

    with monkeypatch.context() as patch:
        patch.setattr(Budget, "on_step_begin", silent)
        patch.setattr(Budget, "on_step_end", stop)
        with pytest.raises(SystemExit):
            run_study(study, *compare(study, ["pta_grpo", "grpo"]), title="T", say=silent)
    assert steps[-1] == stopped_at and not list(tmp_path.glob("cells/pta_grpo/seed-0/result.json"))
    again = []
    plain = Budget.on_step_end

    def watch(self, args, state, control, **kwargs):
        again.append(state.global_step)
        plain(self, args, state, control, **kwargs)

    monkeypatch.setattr(Budget, "on_step_end", watch)
    resumed = run_study(study, *compare(study, ["pta_grpo", "grpo"]), title="T", say=silent)
    assert again[0] == stopped_at + 1
    for name in ("pta_grpo", "grpo"):
        assert resumed["variants"][name]["by_seed"] == numbers["variants"][name]["by_seed"]
        for unit in ("responses", "tokens"):
            assert resumed["variants"][name]["spent"][unit] == numbers["variants"][name]["spent"][unit]


def test_a_half_done_cell_of_other_settings_is_refused(tmp_path, monkeypatch):
    study = spec(tmp_path, seeds=1)
    with monkeypatch.context() as patch:
        patch.setattr(cells, "_evaluate", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            cells.run_cell(study, make_task(study), study.method("grpo"), 0)
    other = spec(tmp_path, seeds=1, settings={**TINY["settings"], "learning_rate": 3e-4})
    with pytest.raises(ResumeError, match="learning_rate"):
        cells.run_cell(other, make_task(other), other.method("grpo"), 0)


@pytest.mark.parametrize(("budget", "amount"), [("tokens", 900), ("seconds", 0.05)])
def test_budgets_of_tokens_and_seconds_end_with_the_rollout_that_reaches_them(tmp_path, budget, amount):
    settings = {**TINY["settings"], "lr_scheduler_type": "constant"}
    study = spec(tmp_path, budget=budget, settings=settings, **{budget: amount})
    task = make_task(study)
    for name in ("pta_grpo", "dr_grpo"):
        result = cells.run_cell(study, task, study.method(name), 0)
        used, curve = result["spent"], result["curve"]
        assert used[budget] >= amount
        assert used["responses"] == 16 * len(curve)  # whole rollouts
        if budget == "tokens":  # of seconds the last rollout may take more than the others
            assert curve[-1][budget] < amount + used[budget] / len(curve)  # and not one more than needed
        if len(curve) > 1:
            assert curve[-2][budget] < amount


def test_dynamic_sampling_pays_for_what_it_drops(tmp_path):
    study = spec(tmp_path, rollouts=6)
    task = make_task(study)
    dapo = cells.run_cell(study, task, study.method("dapo"), 0)
    grpo = cells.run_cell(study, task, study.method("grpo"), 0)
    assert grpo["spent"]["responses"] == 6 * 16 and len(grpo["curve"]) == 6
    assert dapo["spent"]["responses"] >= 6 * 16 and len(dapo["curve"]) < 6


def test_fairness_is_checked(tmp_path):
    study = spec(tmp_path, settings={**TINY["settings"], "loss_type": "dapo"})
    with pytest.raises(ConfigError, match=r"loss_type is part of what the methods are.*dr_grpo: 'dr_grpo'"):
        check_fair(study, compare(study, ["pta_grpo", "dr_grpo"])[0])
    check_fair(study, compare(study, ["pta_grpo", "dapo"])[0])  # both have it anyway
    with pytest.raises(ConfigError, match="schedule needs to know"):
        configuration(
            spec(tmp_path, budget="seconds", seconds=1, settings={"lr_scheduler_type": "linear"}),
            Variant("grpo", "grpo"), tmp_path, 0, {},
        )  # fmt: skip
    config = configuration(study, Variant("g", "grpo", {"learning_rate": 0.5}), tmp_path, 7, {"top_p": 0.5})
    assert (config.num_generations, config.learning_rate, config.top_p, config.seed) == (4, 0.5, 0.5, 7)
    assert config.max_steps == 6 and config.steps_per_rollout == 2 and config.questions_per_step == 2


def test_sweep_makes_one_variant_a_value(tmp_path):
    study = spec(tmp_path)
    variants, pairs = sweep(
        study, ["tau=0.1,1", "split=4x1,2x2", "data=8", "advantage_mode=group,hierarchical"]
    )
    assert [variant.name for variant in variants] == [
        "tau=0.1", "tau=1", "split=4x1", "split=2x2", "data=8", "advantage_mode=group",
        "advantage_mode=hierarchical",
    ]  # fmt: skip
    assert pairs[:2] == [("tau=1", "tau=0.1"), ("split=2x2", "split=4x1")]
    assert variants[0].changes == {"plan_temperature": 0.1} and variants[4].train_questions == 8
    assert variants[2].changes == {"num_plans": 4, "cots_per_plan": 1}
    for entry, message in [
        ("taau=1", "Did you mean 'tau'"), ("split=3", "as in 4x3"), ("tau=low", "plan_temperature"),
        ("tau", "name=value"), ("tau=1,1", "different values"), ("data=-1", "training questions"),
        ("seed=1,2", "set by the study itself"),
    ]:  # fmt: skip
        with pytest.raises(ConfigError, match=message):
            sweep(study, [entry])


def test_ablations_switch_off_one_part_each(tmp_path):
    study = spec(tmp_path, seeds=1)
    variants, pairs = ablate(study)
    assert [(b) for _, b in pairs] == ["without_sft", "without_r_format", "without_r_analytic"]
    task = make_task(study)
    configs = {v.name: configuration(study, v, tmp_path, 0, task.settings) for v in variants}
    assert configs["without_r_format"].structure_reward == 0.0 and configs["full"].structure_reward == 0.2
    assert configs["without_r_analytic"].plan_reward_weight == 0.0
    assert configs["full"].plan_reward_weight == configs["without_sft"].plan_reward_weight == 0.5
    numbers = run_study(study, variants, pairs, title="T", task=task, say=silent)
    starts = {
        name: json.loads((tmp_path / f"cells/{name}/seed-0/result.json").read_text())["start"]
        for name in ("full", "without_sft", "without_r_format")
    }
    assert starts["full"] == starts["without_r_format"] != starts["without_sft"]
    assert len(numbers["comparisons"]) == 3


def made_up(name, seed, accuracy, first=None):
    return {
        "variant": name, "seed": seed, "identity": {"start": "cold"}, "start": f"w{seed}", "warnings": [],
        "curve": [],
        "spent": {"responses": 1.0, "tokens": 2.0, "seconds": 3.0},
        "evaluation": {
            "questions": "q", "accuracy": accuracy, "first": first or [int(a > 0.5) for a in accuracy],
            "pass_at": {"1": float(np.mean(accuracy))}, "maj": 0.5, "mean_tokens": 9.0, "statuses": {},
        },
    }  # fmt: skip


def test_analysis_of_made_up_cells():
    rng = np.random.default_rng(0)
    low = rng.integers(0, 3, (3, 60)) / 4
    high = low + 0.25
    results = {
        "a": [made_up("a", s, row.tolist()) for s, row in enumerate(high)],
        "b": [made_up("b", s, row.tolist()) for s, row in enumerate(low)],
        "c": [made_up("c", s, row.tolist()) for s, row in enumerate(low)],
    }
    numbers = analyse(results, [("a", "b"), ("b", "c")])
    ahead, same = numbers["comparisons"]
    assert ahead["difference"]["mean"] == pytest.approx(0.25) and ahead["difference"]["low"] == pytest.approx(
        0.25
    )
    assert ahead["p_seeds"] == 0.25 == sign_flip([0.25] * 3)  # three seeds cannot show more
    assert ahead["p_holm"] == pytest.approx(2 * ahead["p_questions"])
    assert ahead["mcnemar"]["only_a"] == [int(np.sum(row == 0.5)) for row in low]
    assert ahead["mcnemar"]["only_b"] == [0, 0, 0] and max(ahead["mcnemar"]["p_holm"]) < 0.01
    assert verdict(ahead) == "a is ahead"
    assert same["p_questions"] == same["p_holm"] == 1.0 and verdict(same).startswith("not decided")
    assert verdict({**same, "detectable": 0.0}).startswith("not decided: the two are equal on every question")
    results["b"][1]["start"] = "other"
    with pytest.raises(ConfigError, match="seed 1 began from different weights"):
        analyse(results, [("a", "b")])
    results["b"][1]["evaluation"]["questions"] = "other"
    with pytest.raises(ConfigError, match="different questions"):
        analyse(results, [("a", "b")])


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_studies_are_accepted(path, tmp_path):
    study = StudySpec.from_yaml(path, output_dir=str(tmp_path))
    task_settings = make_task(study).settings if study.task == "chains" else {}
    variants = [study.method(name) for name in ("pta_grpo", "grpo", "dapo", "dr_grpo", *study.methods)]
    check_fair(study, variants)
    for variant in variants:
        for changed in (study, StudySpec.from_yaml(path, budget="rollouts", amount=5)):
            assert configuration(changed, variant, tmp_path, 0, task_settings).max_steps >= 5


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seed: 3", "Did you mean 'seeds'"),
        ("seeds: 0", "seeds: expected a whole number of at least 1"),
        ("budget: token", "Did you mean 'tokens'"),
        ("budget: tokens", "needs an amount"),
        ("settings: {lerning_rate: 1}", "Did you mean 'learning_rate'"),
        ("settings: {max_steps: 3}", "set by the study itself"),
        ("methods: {x: 3}", "methods: x: expected a mapping"),
        ("[1, 2]", "expected a mapping of options"),
        ("a: [", "cannot be read as YAML"),
    ],
)
def test_mistakes_in_a_study_file_are_explained(tmp_path, text, message):
    (tmp_path / "s.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        StudySpec.from_yaml(tmp_path / "s.yaml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("chains: {slip: high}", "slip: got 'high'"),
        ("chains: {good_enough: 2}", "good_enough: got 2, expected from 0 to 1"),
        ("chains: {lengths: 3}", "lengths: expected a list of numbers, got 3"),
        ("chains: {lengths: []}", "lengths: expected a list of numbers"),
        ("chains: {stop: [a]}", "stop: expected a list of numbers"),
        ("chains: {base_steps: x}", "base_steps: expected a whole number of at least 1, got 'x'"),
        ("eval_temperature: hot", "eval_temperature: expected a number"),
        ("eval_top_p: 1.5", "eval_top_p: expected a number from 0 to 1, got 1.5"),
        ("output_dir: 3", "output_dir: expected a folder, got 3"),
        ("settings: {num_plans: two}", "num_plans: expected int, got 'two'"),
        ("settings: {num_plans: 0}", "must be positive"),
        ("methods: {grpo: {algorithm: grp}}", "algorithm: got 'grp', expected one of .*Did you mean 'grpo'"),
        ("task: data\ndata: {model: m, train_dataset: 3, eval_dataset: q}", "train_dataset: expected text, got 3"),
        ("task: data\ndata: {model: m, train_dataset: q, eval_dataset: q, reward_funcs: r}", "expected a list of"),
        ("task: data\ndata: {model: m, train_dataset: q, eval_dataset: q, columns: [a]}", "columns: expected"),
    ],
)
def test_a_value_of_the_wrong_kind_is_a_message_and_no_traceback(tmp_path, capsys, text, message):
    (tmp_path / "s.yaml").write_text(text)
    assert main(["compare", str(tmp_path / "s.yaml"), "--methods", "pta_grpo,grpo"]) == 2
    error = capsys.readouterr().err
    assert re.search(message, error) and "Error" not in error and not (tmp_path / "study_output").exists()


def test_mistakes_that_show_later(tmp_path):
    for make, message in [
        (lambda: make_task(spec(tmp_path, chains={"slipp": 0.1})), "Did you mean 'slip'"),
        (lambda: make_task(spec(tmp_path, chains={"lengths": [9]})), "length: expected 2 to 8"),
        (lambda: make_task(spec(tmp_path, task="data")), "model is needed"),
        (lambda: compare(spec(tmp_path), ["pta_grpo"]), "two or more"),
        (lambda: compare(spec(tmp_path), ["pta_grpo", "grp"]), "Did you mean 'grpo'"),
        (lambda: compare(spec(tmp_path), ["start", "grpo"]), "model before training"),
        (lambda: Variant("a/b", "grpo"), "becomes a folder"),
    ]:
        with pytest.raises(ConfigError, match=message):
            make()


def test_own_model_and_data_from_the_command_line(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "140")
    training_toys.policy().save(tmp_path / "model")
    rows = [{"question": q["prompt"], "answer": q["answer"]} for q in training_toys.QUESTIONS]
    write_jsonl(tmp_path / "train.jsonl", rows[:12])
    write_jsonl(tmp_path / "test.jsonl", rows[12:])
    (tmp_path / "rewards.py").write_text(
        "def brief(completions, **k):\n    return [1.0 / (1 + len(c)) for c in completions]\n"
    )
    text = {
        "task": "data", "output_dir": str(tmp_path / "out"), "seeds": 1, "rollouts": 2, "questions_per_rollout": 2,
        "steps_per_rollout": 1, "test_questions": 8, "eval_samples": 1,
        "data": {"model": str(tmp_path / "model"), "train_dataset": str(tmp_path / "train.jsonl"),
                 "eval_dataset": str(tmp_path / "test.jsonl"), "reward_funcs": [f"{tmp_path}/rewards.py:brief"]},
        "settings": {"num_plans": 2, "cots_per_plan": 2, "prompt_style": "raw", "answer_kind": "exact",
                     "max_completion_length": 6, "max_plan_length": 3},
    }  # fmt: skip
    (tmp_path / "study.yaml").write_text(json.dumps(text))
    assert main(["compare", str(tmp_path / "study.yaml"), "--methods", "pta_grpo,grpo"]) == 0
    out = capsys.readouterr().out
    assert "3 of 3: grpo, seed 0" in out and "pta_grpo − grpo" in out and "report.md" in out
    metrics = (tmp_path / "out/cells/grpo/seed-0/run/metrics.jsonl").read_text()
    assert "rewards/brief/mean" in metrics and "rewards/outcome/mean" in metrics
    assert main(["sweep", str(tmp_path / "study.yaml"), "--over", "data=2,4", "--amount", "1",
                 "--output-dir", str(tmp_path / "sweep")]) == 0  # fmt: skip
    assert "data=4 − data=2" in capsys.readouterr().out
    assert main(["ablate", str(tmp_path / "study.yaml"), "--output-dir", str(tmp_path / "ablate")]) == 2
    assert "needs base_model" in capsys.readouterr().err


def test_a_dry_run_of_a_study_says_what_it_would_take_and_writes_nothing(finished, tmp_path, capsys):
    folder, *_ = finished
    (tmp_path / "s.yaml").write_text(json.dumps({**TINY, "seeds": 2}))
    before = sorted(p for p in folder.rglob("*"))
    common = ["compare", str(tmp_path / "s.yaml"), "--dry-run"]
    assert main([*common, "--output_dir", str(folder), "--methods", "pta_grpo,grpo,dapo"]) == 0
    out = capsys.readouterr().out
    assert yaml.safe_load(out.partition("\n\n")[0])["chains"] == TINY["chains"]  # the resolved study, as YAML
    assert "8 cells (2 seeds, the start among them), 2 to be run" in out  # six are finished: only dapo's are left
    assert "dapo (dapo, from the cold start): a cell takes 6 steps" in out and "MiB" in out
    assert "looks wrong: learning_rate 0.001 is high" in out and "holds checkpoints" not in out
    assert sorted(p for p in folder.rglob("*")) == before
    for command in (["ablate"], ["sweep", "--over", "z=1,2"]):
        assert main([command[0], *common[1:], *command[1:], "--output_dir", str(tmp_path / "new"), "--seeds", "1",
                     "--budget", "seconds", "--amount", "150"]) == 0  # fmt: skip
        trained = 4 if command == ["ablate"] else 2
        out = capsys.readouterr().out
        assert f"about {trained * 2.5:.1f} minutes in all" in out
        assert "about 166667 times" not in out  # the steps are those that the budget allows, not a limit's
    text = {**TINY, "settings": {**TINY["settings"], "lr_scheduler_type": "linear"}}
    (tmp_path / "s.yaml").write_text(json.dumps(text))
    assert main([*common, "--budget", "seconds", "--amount", "9"]) == 2  # refused as the run would be
    assert "does not say how many steps" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def own_data(tmp_path, **data):
    training_toys.policy().save(tmp_path / "model")
    rows = [{"question": q["prompt"], "answer": q["answer"]} for q in training_toys.QUESTIONS]
    write_jsonl(tmp_path / "q.jsonl", rows)
    names = {"train_dataset": str(tmp_path / "q.jsonl"), "eval_dataset": str(tmp_path / "q.jsonl")}
    settings = {**TINY["settings"], "prompt_style": "raw"}
    data = {"model": str(tmp_path / "model"), **names, **data}
    return spec(tmp_path / "out", seeds=1, task="data", chains={}, data=data, settings=settings)


def test_what_a_study_of_own_data_lacks_is_told_before_the_first_cell(tmp_path, monkeypatch):
    monkeypatch.setattr(cells, "_evaluate", None)  # a cell that began would fail with another error
    study = own_data(tmp_path)
    with pytest.raises(ConfigError, match="needs base_model"):
        run_study(study, *ablate(study), title="T", say=silent)
    with pytest.raises(ConfigError, match="asked for 50 training questions, there are 20"):
        run_study(study, *sweep(study, ["data=5,50"]), title="T", say=silent)


def test_another_model_is_another_study(tmp_path, monkeypatch):
    study = own_data(tmp_path)
    task = make_task(study)
    cells.run_cell(study, task, START, 0)
    monkeypatch.setattr(cells, "_evaluate", None)
    assert cells.run_cell(study, task, START, 0)["variant"] == "start"  # finished: read, not run
    training_toys.policy(seed=1).save(tmp_path / "other")
    other = own_data(tmp_path, model=str(tmp_path / "other"))
    with pytest.raises(ConfigError, match=r"model: '.*/model' there, '.*/other' now"):
        cells.run_cell(other, make_task(other), START, 0)
