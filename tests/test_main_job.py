"""The main job on real input, through the command line.

A Qwen2.5-architecture model of small width with the real Qwen2.5 tokenizer and chat template (151,936
entries) is distilled for, fine-tuned, trained by PTA-GRPO and evaluated. Random weights solve nothing; what
is checked is that losses fall, and that every count, weight and file is right.
"""

from __future__ import annotations

import json
import math
import shutil

import numpy as np
import pytest
from teacher_server import Act, TeacherServer

from ptagrpo.cli import main
from ptagrpo.io import read_jsonl

pytest.importorskip("openai", reason="plans come from an endpoint through the openai client")

WIDTH, VOCABULARY = 32, 151_936
MODEL = {
    "vocab_size": VOCABULARY,
    "hidden_size": WIDTH, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "tie_word_embeddings": True, "initializer_range": 0.2,
}  # fmt: skip
RECORDS, QUESTIONS, PLANS, COTS = 12, 8, 2, 2
BENCHMARKS = {"math500": 500, "aime24": 30, "aime25": 30, "amc23": 40}


@pytest.fixture(scope="module")
def real(shared_data):
    """The real data's folder; skips where a file that the job needs is not there."""
    needed = [
        "checkpoints/qwen2.5/vocab.json",
        "traces/math_cot_100x8.jsonl",
        "maths/math_train_problems.json",
    ]
    for name in [*needed, *(f"maths/{benchmark}.jsonl" for benchmark in BENCHMARKS)]:
        if not (shared_data / name).is_file():
            pytest.skip(f"no {name} in {shared_data}: the main job runs on the real files")
    return shared_data


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    return tmp_path_factory.mktemp("main_job")


def run(*arguments):
    """The command line, which must succeed."""
    assert main([str(argument) for argument in arguments]) == 0


def parameters(folder):
    from ptagrpo import load

    return {name: values.copy() for name, values in load(folder).model.parameters().items()}


def metrics(folder):
    return list(read_jsonl(folder / "metrics.jsonl"))


@pytest.fixture(scope="module")
def base(real, work):
    """A Hugging Face folder: random weights, the real config made narrow, the real tokenizer files."""
    from ptagrpo.policy import Policy
    from ptagrpo.tokenizer import Tokenizer

    source = real / "checkpoints" / "qwen2.5"
    config = {**json.loads((source / "config.json").read_text()), **MODEL}
    config.pop("layer_types", None)
    assert config["model_type"] == "qwen2"
    policy = Policy.from_config(config, Tokenizer.from_folder(source), seed=1)
    policy.save(work / "base")
    return work / "base"


@pytest.fixture(scope="module")
def plans(real, work):
    """`distill`: one plan for the first right solution of each of the first questions."""

    def act(number, messages):
        if number % 7 == 3:
            return Act(status=429, headers={"Retry-After": "0"})
        return Act(text="<plan>\n1. Restate what is asked.\n2. Choose what fits.\n3. Apply it.\n</plan>")

    with pytest.MonkeyPatch.context() as patch, TeacherServer(act) as server:
        patch.setenv("OPENAI_API_KEY", "sk-test-main-job")
        run(
            "distill",
            real / "traces" / "math_cot_100x8.jsonl",
            "--output",
            work / "plans.jsonl",
            "--teacher",
            "small-teacher",
            "--base_url",
            server.url,
            "--per-question",
            1,
            "--limit",
            RECORDS,
            "--no_progress",
        )
        asked = len(server.bodies)
        run(
            "distill",
            real / "traces" / "math_cot_100x8.jsonl",
            "--output",
            work / "plans.jsonl",
            "--teacher",
            "small-teacher",
            "--base_url",
            server.url,
            "--per-question",
            1,
            "--limit",
            RECORDS,
            "--no_progress",
        )
        assert len(server.bodies) == asked  # all from the cache
    return work / "plans.jsonl"


@pytest.fixture(scope="module")
def cold(base, plans, work):
    """`sft` on the distilled records, with the settings from a YAML file and a flag over it."""
    settings = work / "sft.yaml"
    settings.write_text(
        "learning_rate: 1e-2\nnum_train_epochs: 1\nlr_scheduler_type: linear\nmax_length: 2048\n"
        "per_device_train_batch_size: 2\nlogging_steps: 1\nseed: 5\n"
    )
    run(
        "sft",
        "--config",
        settings,
        "--model",
        base,
        "--train-dataset",
        plans,
        "--output_dir",
        work / "cold",
        "--num-train-epochs",
        2,
        "--disable_tqdm",
    )
    return work / "cold"


@pytest.fixture(scope="module")
def trained(cold, real, work):
    """`train`: PTA-GRPO on real problems, with the paper's rewards."""
    run(
        "train",
        "--algorithm",
        "pta_grpo",
        "--model",
        cold,
        "--train_dataset",
        real / "maths" / "math_train_problems.json",
        "--limit",
        QUESTIONS,
        "--output_dir",
        work / "rl",
        "--num_plans",
        PLANS,
        "--cots_per_plan",
        COTS,
        "--max_completion_length",
        48,
        "--max_plan_length",
        16,
        "--learning_rate",
        "1e-3",
        "--per_device_train_batch_size",
        2 * PLANS * COTS,
        "--num_train_epochs",
        1,
        "--beta",
        "0.04",
        "--logging_steps",
        1,
        "--log_completions",
        "--seed",
        3,
        "--disable_tqdm",
        "--structure_reward",
        "0.2",
        "--length_reward_weight",
        "0.1",
        "--reward_funcs",
        f"{write_reward(work)}:evenness",
    )
    return work / "rl"


def write_reward(work):
    """Random weights never answer right; a reward of the test's own makes the groups differ."""
    path = work / "my_rewards.py"
    path.write_text(
        "def evenness(completions, plan_index, cot_index, completion_ids, **columns):\n"
        "    assert len(columns['difficulty']) == len(completions) == len(plan_index) == len(cot_index)\n"
        "    return [sum(i % 2 == 0 for i in ids) / len(ids) for ids in completion_ids]\n"
    )
    return path


def test_distilled_records(plans, work):
    rows = list(read_jsonl(plans))
    report = json.loads((work / "plans.report.json").read_text())
    dropped = list(read_jsonl(work / "plans.dropped.jsonl"))
    assert len(rows) + len(dropped) == report["traces"] and report["records"] == len(rows) >= 10
    assert {row["reason"] for row in dropped} <= {"the data set marks the solution as wrong"}
    assert report["cached"] == len(rows) and report["requests"] == 0
    assert all(row["plan"].startswith("1. Restate") and row["think"] and row["answer"] for row in rows)
    assert "sk-test-main-job" not in "".join(p.read_text() for p in work.glob("plans*"))


def test_sft_lowers_the_loss_and_saves_what_it_trained(base, cold, plans):
    rows, log = list(read_jsonl(plans)), metrics(cold)
    steps = 2 * math.ceil(len(rows) / 2)
    losses = [row["loss"] for row in log if "loss" in row]
    assert len(losses) == steps and all(np.isfinite(losses))
    assert losses[0] > 10 and np.mean(losses[-3:]) < np.mean(losses[:3]) - 1.0
    before, after = parameters(base), parameters(cold)
    assert {k: v.shape for k, v in before.items()} == {k: v.shape for k, v in after.items()}
    assert before["model.embed_tokens.weight"].shape == (VOCABULARY, WIDTH) and "lm_head.weight" not in before
    assert all(np.any(before[name] != after[name]) for name in before)
    expected = {
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    assert expected <= {path.name for path in cold.iterdir()}


def test_pta_grpo_counts_weights_and_files(cold, trained):
    log = [row for row in metrics(trained) if "loss" in row]
    assert len(log) == QUESTIONS // 2
    for row in log:
        assert (
            np.isfinite([row["loss"], row["grad_norm"], row["kl"], row["reward"]]).all()
            and row["grad_norm"] > 0
        )
        assert row["frac_reward_zero_std"] < 1
    assert log[0]["kl"] == pytest.approx(0, abs=1e-4) and log[-1]["kl"] > 0
    files = sorted((trained / "completions").iterdir())
    assert len(files) == QUESTIONS // 2
    completions = [row for path in files for row in read_jsonl(path)]
    assert len(completions) == QUESTIONS * PLANS * COTS
    assert {(row["plan_index"], row["cot_index"]) for row in completions} == {
        (i, k) for i in range(PLANS) for k in range(COTS)
    }
    before, after = parameters(cold), parameters(trained)
    assert all(np.isfinite(after[name]).all() and np.any(before[name] != after[name]) for name in before)


def test_evaluation_of_all_four_benchmarks(trained, real, work):
    run(
        "eval",
        trained,
        "--benchmark",
        ",".join(BENCHMARKS),
        "--data_path",
        real / "maths",
        "--output_dir",
        work / "scores",
        "--max_new_tokens",
        8,
        "--temperature",
        1,
        "--top_p",
        1,
        "--no_progress",
    )
    for name, questions in BENCHMARKS.items():
        rows = list(read_jsonl(work / "scores" / name / "samples.jsonl"))
        summary = json.loads((work / "scores" / name / "summary.json").read_text())
        assert len(rows) == summary["samples"] == summary["questions"] == questions
        assert sum(summary["statuses"].values()) == questions
        assert summary["statuses"]["timeout"] == summary["statuses"]["error"] == 0
        right = sum(row["status"] == "correct" for row in rows)
        assert summary["accuracy"] == pytest.approx(right / questions)
        assert all(len(row["response"]) >= 0 and row["answer"] for row in rows)


def test_graded_file_of_responses(real, work, capsys):
    """The other mode of `eval`: responses to real questions, the right one last in each row."""
    source = [json.loads(line) for line in open(real / "traces" / "math_cot_100x8.jsonl")][:5]
    rows = [
        {"id": row["idx"], "answer": row["gt"], "responses": ["I do not know.", f"so \\boxed{{{row['gt']}}}"]}
        for row in source
    ]
    path = work / "responses.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    run("eval", "--responses", path, "--output", work / "graded.jsonl", "--no_progress")
    graded = list(read_jsonl(work / "graded.jsonl"))
    assert [row["status"] for row in graded] == [["no_answer", "correct"]] * 5
    assert "5 of 10 responses right, 5 questions; accuracy 50.0 %" in capsys.readouterr().out


def test_generate_and_convert(trained, work, capsys):
    from safetensors.numpy import load_file

    run(
        "generate",
        trained,
        "--prompt",
        "What is 1+1?",
        "--n",
        2,
        "--max-new-tokens",
        4,
        "--output",
        work / "g.jsonl",
    )
    [row] = read_jsonl(work / "g.jsonl")
    assert len(row["responses"]) == 2 and set(row["finish_reasons"]) <= {"eos", "length"}
    run("convert", trained, work / "bf16", "--dtype", "bfloat16", "--max_shard_size", "1MB")
    index = json.loads((work / "bf16" / "model.safetensors.index.json").read_text())
    shards = set(index["weight_map"].values())
    assert len(shards) > 1 and shards == {path.name for path in (work / "bf16").glob("*.safetensors")}
    run("convert", work / "bf16", work / "again")
    rounded = load_file(work / "again" / "model.safetensors")
    for name, values in parameters(trained).items():
        np.testing.assert_allclose(rounded[name], values, rtol=2**-8)


def test_transformers_loads_what_was_saved(trained, work):
    torch = pytest.importorskip("torch", reason="transformers' own forward pass needs torch")
    transformers = pytest.importorskip("transformers", reason="compares with transformers")
    import ptagrpo

    model = transformers.AutoModelForCausalLM.from_pretrained(trained, dtype=torch.float32)
    tokenizer = transformers.AutoTokenizer.from_pretrained(trained)
    messages = [{"role": "user", "content": "What is $1+1$?"}]
    policy = ptagrpo.load(trained)
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert text == policy.tokenizer.apply_chat_template(messages, add_generation_prompt=True)
    ids = tokenizer(text)["input_ids"]
    assert ids == policy.tokenizer.encode(text) and len(ids) > 10
    with torch.no_grad():
        logprobs = model(torch.tensor([ids])).logits[0].double().log_softmax(-1)
    expected = logprobs[torch.arange(len(ids) - 1), torch.tensor(ids[1:])].numpy()
    np.testing.assert_allclose(policy.logprobs([ids])[0], expected, rtol=1e-4, atol=1e-4)


def test_training_resumes_only_with_the_same_settings(trained, cold, real, work, capsys):
    copy = work / "rl_copy"
    shutil.copytree(trained, copy)
    code = main(
        [
            "train",
            "--model",
            str(cold),
            "--train_dataset",
            str(real / "maths" / "math_train_problems.json"),
            "--limit",
            str(QUESTIONS),
            "--output_dir",
            str(copy),
            "--resume",
            "auto",
            "--seed",
            "4",
            "--disable_tqdm",
        ]
    )
    assert code == 2 and "seed" in capsys.readouterr().err
