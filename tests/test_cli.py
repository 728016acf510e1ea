"""The command line: its arguments, its messages, its exit codes. The work itself is tested elsewhere."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from patience import patience

from ptagrpo.cli import main
from ptagrpo.cli.arguments import merge, normalise
from ptagrpo.errors import ConfigError
from ptagrpo.io import read_jsonl, write_jsonl
from ptagrpo.training import PTAGRPOConfig, SFTConfig

COMMANDS = [
    "quickstart",
    "distill",
    "sft",
    "train",
    "eval",
    "compare",
    "sweep",
    "ablate",
    "generate",
    "convert",
]
CONFIGS = Path(__file__).resolve().parent.parent / "configs"
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}


def call(capsys, *arguments):
    """(exit code, standard output, standard error) of the command line."""
    capsys.readouterr()
    code = main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    return code, out, err


@pytest.fixture
def model(tiny_policy, tmp_path):
    """A saved model of a few thousand random weights."""
    return tiny_policy("llama", seed=3).save(tmp_path / "model")


@pytest.fixture
def questions(tmp_path):
    rows = [{"id": f"q{k}", "question": f"What is {k}+1?", "answer": str(k + 1)} for k in range(4)]
    rows.append({"id": "none", "question": "What is it?", "answer": None})
    write_jsonl(tmp_path / "questions.jsonl", rows)
    return tmp_path / "questions.jsonl"


@pytest.fixture
def records(tmp_path):
    rows = [
        {"question": f"{k}+1?", "plan": "Add.", "think": f"{k} and 1", "answer": str(k + 1)} for k in range(6)
    ]
    write_jsonl(tmp_path / "records.jsonl", rows)
    return tmp_path / "records.jsonl"


# --- help and version ---


def test_version_is_quick_and_tells_how_the_core_was_built():
    best, out = 9.0, ""
    for _ in range(5):
        begun = time.perf_counter()
        out = subprocess.run(
            [sys.executable, "-m", "ptagrpo", "--version"],
            env=ENVIRONMENT,
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        best = min(best, time.perf_counter() - begun)
    assert out.startswith("ptagrpo ") and all(
        f"{name}:" in out for name in ("compiler", "blas", "simd", "threads")
    )
    if not os.environ.get("ASAN_OPTIONS"):
        assert best < patience(1.0)


def test_the_list_of_commands_is_whole_at_80_columns():
    environment = {**ENVIRONMENT, "COLUMNS": "80"}
    out = subprocess.run(
        [sys.executable, "-m", "ptagrpo", "--help"], env=environment, capture_output=True, text=True
    ).stdout
    assert "  view             one HTML page of a run" in out and "..." not in out.partition("Commands:")[2]
    assert max(map(len, out.splitlines())) <= 80


def test_a_file_that_is_not_there_is_said_to_be_missing(tmp_path):
    command = [sys.executable, "-m", "ptagrpo", "compare", "nothing.yaml"]
    done = subprocess.run(command, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 2 and "nothing.yaml: there is no such file" in done.stderr


def test_version_and_help_load_nothing_heavy():
    code = (
        "import sys; from ptagrpo.cli import main; main(['train', '--help']); main(['--version']); "
        "heavy = {'torch', 'tokenizers', 'matplotlib', 'sympy', 'openai', 'datasets', 'pyarrow'} & "
        "set(sys.modules); "
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], env=ENVIRONMENT, check=True, capture_output=True)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(capsys, command):
    code, out, _ = call(capsys, command, "--help")
    text = " ".join(out.split())
    assert (
        code == 0
        and f"Usage: ptagrpo {command}" in text
        and f"ptagrpo {command} " in text.partition("Example")[2]
    )
    flags = [word for word in text.partition("Options:")[2].split() if word.startswith("--")]
    assert flags and not [flag for flag in flags if "-" in flag[2:]]


def test_all_commands_are_listed(capsys):
    code, out, _ = call(capsys, "--help")
    assert code == 0 and all(f"  {command} " in out for command in COMMANDS)


@pytest.mark.parametrize("arguments, config", [
    (["sft"], SFTConfig), (["train"], PTAGRPOConfig)])  # fmt: skip
def test_list_settings_names_every_setting_and_its_meaning(capsys, arguments, config):
    code, out, _ = call(capsys, *arguments, "--list-settings")
    assert code == 0
    for name, field in config.options().items():
        assert f"--{name} (" in out and field.metadata["doc"] in out


# --- mistakes: one message, exit code 2 ---


@pytest.mark.parametrize("arguments, told", [
    (["trian"], "Did you mean 'train'"),
    (["train", "--learning_rat", "3"], "no option '--learning_rat'. Did you mean '--learning_rate'?"),
    (["train", "--modle", "x"], "Did you mean '--model'?"),
    (["sft", "--num_plans", "3"], "there is no option '--num_plans'"),
    (["train", "--algorithm", "gpro"], "Did you mean 'grpo'?"),
    (["train", "--model", "x"], "--train_dataset is needed"),
    (["train", "stray"], "unexpected argument 'stray'"),
    (["train", "--seed", "1", "--seed", "2"], "--seed is given twice"),
    (["train", "--seed"], "--seed needs a value"),
    (["train", "--seed", "1", "2"], "--seed takes one value"),
    (["eval"], "give a model and --benchmark"),
    (["eval", "--responses", "a.jsonl"], "--responses needs --output"),
    (["eval", "m", "--responses", "a.jsonl", "--output", "b"], "leave out the model"),
    (["eval", "m", "--benchmark", "math501"], "math501"),
    (["eval", "--k", "0"], "--k"),
    (["generate", "m"], "give either --prompt TEXT or --prompts FILE"),
    (["distill", "d.jsonl", "--output", "o.jsonl"], "give either --teacher NAME"),
    (["distill", "d.jsonl", "--output", "o.jsonl", "--teacher", "t"], "no such file"),
    (["convert", "a.bin", "b"], "needs its tokenizer"),
    (["convert", "nowhere", "b"], "nowhere"),
])  # fmt: skip
def test_a_mistake_gives_one_message_and_exit_code_2(capsys, tmp_path, monkeypatch, arguments, told):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    code, out, err = call(capsys, *arguments)
    assert code == 2 and told in " ".join(err.split()) and "Traceback" not in out + err


def test_debug_shows_the_traceback(capsys, tmp_path):
    code, _, err = call(
        capsys, "--debug", "eval", "--responses", tmp_path / "x.jsonl", "--output", tmp_path / "y"
    )
    assert code == 2 and "Traceback" in err and "error: " in err


def test_a_malformed_line_is_named(capsys, model, tmp_path):
    data = tmp_path / "bad.jsonl"
    data.write_text('{"question": "x", "answer": "1"}\n{"question": \n')
    code, _, err = call(
        capsys, "train", "--model", model, "--train_dataset", data, "--output_dir", tmp_path / "o"
    )
    assert code == 2 and err.startswith(f"error: {data}:2: expected one JSON object on the line")


# --- flags and YAML ---


def test_kebab_case_and_repeated_values():
    assert normalise(["--train-dataset", "a-b", "--x=c-d", "-h", "--", "--y-z"]) == [
        "--train_dataset", "a-b", "--x=c-d", "-h", "--", "--y-z"]  # fmt: skip
    assert normalise(["--reward-funcs", "a", "b", "--seed", "1"]) == [
        "--reward_funcs", "a", "--reward_funcs", "b", "--seed", "1"]  # fmt: skip
    assert normalise(["--show-completion"]) == ["--show-completion"]


def test_flags_win_over_yaml_and_values_have_their_types(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("model: m\nlearning-rate: 1e-4\nseed: 3\nreward_funcs: accuracy_reward\nlimit: 5\n")
    own = {"model": None, "output_dir": "flag", "reward_funcs": [], "limit": None}
    extras = ["--seed", "7", "--log_completions", "--reward_weights", "1", "0.5", "--max_steps", "-1",
              "--lr_scheduler_kwargs", "{min_lr_rate: 0.1}", "--lr_scheduler_type=linear"]  # fmt: skip
    options, settings = merge(path, own, extras, PTAGRPOConfig)
    assert options == {"model": "m", "output_dir": "flag", "reward_funcs": ["accuracy_reward"], "limit": 5}
    config = PTAGRPOConfig.from_dict({**settings, "output_dir": "x"})
    assert (config.learning_rate, config.seed, config.log_completions, config.max_steps) == (
        1e-4,
        7,
        True,
        -1,
    )
    assert config.reward_weights == [1, 0.5] and config.lr_scheduler_kwargs == {"min_lr_rate": 0.1}


@pytest.mark.parametrize("text, told", [
    ("seed: 1\nlearning_rat: 1", r"c.yaml, line 2: there is no option 'learning_rat'. Did you mean 'learning_rate'\?"),
    ("- a\n- b", "c.yaml: expected a mapping of options, got list"),
    ("seed: 1\na: [1", "c.yaml, line 2: cannot be read as YAML"),
    ("seed: 1\nmodel: a\nseed: 2", "c.yaml, line 3: 'seed' is given twice, first in line 1"),
    ("seed: 1\nmax-new-token: 1", "c.yaml, line 2: there is no option 'max_new_token'"),
    ("model: [a, b]", "model: expected one value, got a list"),
])  # fmt: skip
def test_a_wrong_yaml_is_refused_by_name(tmp_path, text, told):
    path = tmp_path / "c.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=told):
        merge(path, {"model": None}, [], PTAGRPOConfig)
    with pytest.raises(ConfigError, match="there is no such file"):
        merge(tmp_path / "missing.yaml", {"model": None}, [], PTAGRPOConfig)


def test_yaml_of_a_command_without_settings(capsys, model, tmp_path):
    path = tmp_path / "g.yaml"
    path.write_text("prompt: [what is 1, what is 2]\nmax-new-tokens: 3\nprompt_style: raw\nn: 2\n")
    code, out, _ = call(capsys, "generate", model, "--config", path, "--n", "3")
    assert code == 0 and out.count("--- prompt 0, response") == 3 and out.count("--- prompt 1, response") == 3
    path.write_text("max_new_token: 3\n")
    code, _, err = call(capsys, "generate", model, "--config", path)
    assert code == 2 and "there is no option 'max_new_token'. Did you mean 'max_new_tokens'?" in err


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.name)
def test_shipped_configurations_are_accepted(path, tmp_path):
    import yaml

    from ptagrpo.training import GRPOConfig

    values = yaml.safe_load(path.read_text())
    kind = {None: SFTConfig, "pta_grpo": PTAGRPOConfig, "grpo": GRPOConfig}[values.get("algorithm")]
    config = kind.from_dict(values)
    assert config.learning_rate < 1e-3


# --- the commands, small ---


def test_train_with_a_shipped_configuration_and_a_reward_from_a_file(capsys, model, questions, tmp_path):
    rewards = tmp_path / "my_rewards.py"
    rewards.write_text(
        "def length(completion_ids, **columns):\n    return [float(len(i)) for i in completion_ids]\n"
    )
    code, out, err = call(
        capsys, "train", "--config", CONFIGS / "demo.yaml", "--model", model, "--train-dataset", questions,
        "--output-dir", tmp_path / "run", "--reward-funcs", f"{rewards}:length", "think_format_reward",
        "--reward_weights", "0.5", "1", "--disable_tqdm",
    )  # fmt: skip
    assert code == 0, err
    assert "pta_grpo: 5 questions, 4 responses each" in out and "step 3 of 3; model saved" in out
    log = list(read_jsonl(tmp_path / "run" / "metrics.jsonl"))
    assert any("rewards/length/mean" in row for row in log)
    assert (tmp_path / "run" / "model.safetensors").is_file()
    code, _, err = call(capsys, "train", "--config", CONFIGS / "demo.yaml", "--model", model,
                        "--train_dataset",
                        questions, "--output_dir", tmp_path / "run", "--disable_tqdm")  # fmt: skip
    assert code == 2 and "holds checkpoints of an earlier run" in err


@pytest.mark.parametrize("algorithm", ["grpo", "dapo", "dr_grpo"])
def test_train_flat_leaves_out_questions_without_answer(capsys, model, questions, tmp_path, algorithm):
    code, out, err = call(
        capsys, "train", "--algorithm", algorithm, "--model", model, "--train_dataset", questions,
        "--output_dir",
        tmp_path / "run", "--num_generations", "2", "--max_steps", "1", "--max_completion_length", "4",
        "--answer_kind", "exact", "--max_resample_times", "1", "--disable_tqdm",
    )  # fmt: skip
    assert code == 0, err
    assert "1 of 5 rows have no reference answer and are left out" in out
    assert f"{algorithm}: 4 questions, 2 responses each" in out


@pytest.mark.parametrize("name, told", [
    ("no_file.py:f", "there is no file no_file.py"),
    ("{here}/r.py:brevty", "has no function 'brevty'. Did you mean 'brevity'?"),
    ("{here}/broken.py:f", "cannot be run: NameError"),
    ("acuracy_reward", "Did you mean 'accuracy_reward'?"),
    ("no.such.module", "cannot be imported"),
])  # fmt: skip
def test_a_reward_that_is_not_there(capsys, model, questions, tmp_path, name, told):
    (tmp_path / "r.py").write_text(
        "def brevity(completions, **columns):\n    return [0.0] * len(completions)\n"
    )
    (tmp_path / "broken.py").write_text("undefined_name\n")
    code, _, err = call(capsys, "train", "--model", model, "--train_dataset", questions, "--output_dir",
                        tmp_path / "run", "--reward_funcs", name.format(here=tmp_path))  # fmt: skip
    assert code == 2 and told in err


def test_sft_then_generate_then_grade(capsys, model, records, questions, tmp_path):
    code, out, err = call(capsys, "sft", "--model", model, "--train_dataset", records, "--output_dir",
                          tmp_path / "cold", "--max_steps", "2", "--disable_tqdm")  # fmt: skip
    assert code == 0 and "sft: 6 rows" in out and "step 2 of 2; model saved" in out, err
    write_jsonl(tmp_path / "answered.jsonl", list(read_jsonl(questions))[:4])
    code, out, err = call(capsys, "generate", tmp_path / "cold", "--prompts", tmp_path / "answered.jsonl",
                          "--output", tmp_path / "r.jsonl", "--n", "2", "--max_new_tokens", "5")  # fmt: skip
    assert code == 0, err
    rows = list(read_jsonl(tmp_path / "r.jsonl"))
    assert [row["id"] for row in rows] == ["q0", "q1", "q2", "q3"] and all(
        len(r["responses"]) == 2 for r in rows
    )
    code, out, err = call(capsys, "eval", "--responses", tmp_path / "r.jsonl", "--output",
                          tmp_path / "g.jsonl",
                          "--no_progress")  # fmt: skip
    assert code == 0 and " of 8 responses right, 4 questions" in out, err
    code, out, err = call(
        capsys,
        "eval",
        tmp_path / "cold",
        "--benchmark",
        tmp_path / "answered.jsonl",
        # fmt: skip
        "--max_new_tokens",
        "4",
        "--output_dir",
        tmp_path / "scores",
        "--no_progress",
    )
    assert code == 0 and "answered" in out, err
    assert len(list(read_jsonl(tmp_path / "scores" / "answered" / "samples.jsonl"))) == 4


def test_generate_is_reproducible_and_greedy_agrees_with_the_library(capsys, model):
    import ptagrpo

    arguments = ["generate", model, "--prompt", "what is", "--prompt_style", "raw", "--max_new_tokens", "6"]
    first, second = call(capsys, *arguments, "--seed", "5"), call(capsys, *arguments, "--seed", "5")
    assert first == second and first[0] == 0
    _, out, _ = call(capsys, *arguments, "--temperature", "0")
    [[completion]] = ptagrpo.load(model).generate(["what is"], max_new_tokens=6, temperature=0.0)
    assert out == completion.text + "\n"


def test_self_plan_distillation_is_reproducible_and_cached(capsys, model, tmp_path):
    data = tmp_path / "traces.jsonl"
    write_jsonl(data, [{"question": f"{k}+1?", "think": "add", "answer": "xyz"} for k in range(3)])
    for name in ("a", "b", "a"):
        code, out, err = call(capsys, "distill", data, "--output", tmp_path / f"{name}.jsonl",
                              "--self_plan", model,
                              "--max_tokens", "8", "--attempts", "1", "--no_progress")  # fmt: skip
        assert code == 0, err
    assert "0 replies asked for, 3 from the cache" in out
    caches = [(tmp_path / f"{name}.cache.jsonl").read_text() for name in ("a", "b")]
    assert caches[0] == caches[1]
    report = json.loads((tmp_path / "a.report.json").read_text())
    assert report["traces"] == 3 == report["records"] + report["dropped"] and report["teacher"].startswith(
        "self:"
    )


def test_convert_rewrites_a_folder(capsys, model, tmp_path):
    code, out, _ = call(capsys, "convert", model, tmp_path / "half", "--dtype", "bfloat16")
    sizes = [(folder / "model.safetensors").stat().st_size for folder in (model, tmp_path / "half")]
    assert code == 0 and "as bfloat16" in out and sizes[1] < 0.6 * sizes[0]
    code, _, err = call(capsys, "convert", model, model)
    assert code == 2 and "the same folder" in err


def test_ctrl_c_while_training_exits_130_and_says_how_to_go_on(model, questions, tmp_path):
    run = tmp_path / "run"
    command = [
        sys.executable,
        "-m",
        "ptagrpo",
        "train",
        "--algorithm",
        "grpo",
        "--model",
        str(model),
        "--train_dataset",
        str(questions),
        "--output_dir",
        str(run),
        "--num_generations",
        "2",
        # fmt: skip
        "--max_completion_length",
        "4",
        "--answer_kind",
        "exact",
        "--logging_steps",
        "1",
        "--disable_tqdm",
    ]
    process = subprocess.Popen(
        [*command, "--max_steps", "100000"], env=ENVIRONMENT, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 60
    log = run / "metrics.jsonl"
    while (
        not (log.exists() and log.stat().st_size) and process.poll() is None and time.monotonic() < deadline
    ):
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert (
        f"interrupted. The state is saved in {run}; go on with --resume auto" in err
        and "Traceback" not in err
    )
    assert list(run.glob("checkpoint-*"))


def test_ctrl_c_while_distilling_exits_130(tmp_path):
    pytest.importorskip("openai", reason="the endpoint teacher needs the openai client")
    from teacher_server import Act, TeacherServer

    write_jsonl(
        tmp_path / "t.jsonl", [{"question": f"{k}?", "think": "t", "answer": "xyz"} for k in range(20)]
    )
    with TeacherServer(lambda n, m: Act(delay=0.0 if n < 5 else 60)) as server:
        command = [sys.executable, "-m", "ptagrpo", "distill", "t.jsonl", "--output", "p.jsonl",
                   "--teacher", "m",
                   "--base-url", server.url, "--no-progress"]  # fmt: skip
        process = subprocess.Popen(command, cwd=tmp_path, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True)
        while len(server.bodies) < 13 and process.poll() is None:
            time.sleep(0.02)
        time.sleep(0.1)
        begun = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
        assert time.monotonic() - begun < patience(4.0)
    assert (
        process.returncode == 130 and "Finished replies are saved in p.cache.jsonl; the same command" in err
    )
    assert len(list(read_jsonl(tmp_path / "p.cache.jsonl"))) == 5


def test_quickstart_passes_its_arguments(capsys, monkeypatch, tmp_path):
    seen = {}
    import ptagrpo.quickstart

    monkeypatch.setattr(
        ptagrpo.quickstart, "run_quickstart", lambda folder, **rest: seen.update(rest, folder=folder)
    )
    code, _, _ = call(
        capsys, "quickstart", "--output-dir", tmp_path, "--seed", "4", "--quick", "--no-progress"
    )
    assert code == 0 and seen == {"folder": str(tmp_path), "seed": 4, "quick": True, "progress": False}
