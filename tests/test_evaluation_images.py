"""Evaluating on questions with images: what the policy gets, images that cannot be opened, guesses that resume, the
paper's two tables."""

import io
import json
import random
import types

import numpy as np
import pytest

from ptagrpo import benchmarks
from ptagrpo.cli import main
from ptagrpo.errors import ConfigError, ResumeError
from ptagrpo.evaluation import (
    EvalResult,
    evaluate,
    make_image_prompt,
    paper_tables,
    render,
    run_eval,
)  # fmt: skip
from ptagrpo.evaluation.intervals import balanced_interval, clustered_interval
from ptagrpo.records import Question


class Stopped(Exception):
    """The test's own interruption."""


class Sees:
    """A policy that takes images; says B, (A), or nothing that is a letter, by its key."""

    accepts_images = True
    tokenizer = types.SimpleNamespace(chat_template=None)

    def __init__(self, stop_after=None):
        self.prompts, self.samples, self.stop_after = [], 0, stop_after

    def generate(self, prompts, *, n, keys, **settings):
        if self.stop_after is not None and self.samples + len(keys) > self.stop_after:
            raise Stopped
        self.samples += len(keys)
        self.prompts += prompts
        texts = [["B", "(A)", "no idea"][int(key) % 3] for key in keys]
        made = [types.SimpleNamespace(text=text, token_ids=[1], finish_reason="eos") for text in texts]
        return [made[i * n : (i + 1) * n] for i in range(len(prompts))]


def picture(path, size=(6, 4)):
    images = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
    buffer = io.BytesIO()
    images.effect_noise(size, 60).save(buffer, "PNG")
    path.write_bytes(buffer.getvalue())
    return path.name


@pytest.fixture
def data(tmp_path, monkeypatch):
    """A folder with MMMU (8 rows) and both settings of MMMU-Pro (6 and 2 rows), each row with an image."""
    monkeypatch.delenv("PTAGRPO_DATA", raising=False)
    folder = tmp_path / "data"
    folder.mkdir()
    name = picture(folder / "a.png")

    def rows(count, prefix, image, **more):
        return [
            {"id": f"{prefix}_{n}", "options": "['red', 'blue']", "answer": "AB"[n % 2], image: name, **more}
            for n in range(count)
        ]

    question = {"question": "What is <image 1>?"}
    for file, made in (
        ("validation", rows(8, "validation_Art", "image_1", **question)),
        ("standard", rows(6, "test_Art", "image_1", **question)),
        ("vision", rows(2, "test_Art", "image")),
    ):
        (folder / f"{file}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in made))
    return folder


def load(name, data):
    return benchmarks.load(name, data, partial=True)


def run(benchmark, policy=None, **settings):
    settings = {"k": 3, "batch_size": 4, "progress": False, **settings}
    return evaluate(policy or Sees(), benchmark, **settings)


def test_the_policy_gets_images_where_the_text_has_them(data):
    policy = Sees()
    run(load("mmmu", data), policy, k=1, prompt_style="official")
    (turn,) = policy.prompts[0]
    before, image, after = turn["content"]
    assert turn["role"] == "user" and before == {"type": "text", "text": "What is "}
    assert image["type"] == "image" and image["image"].size == (6, 4) and image["image"].mode == "RGB"
    assert after["text"].startswith("?\n(A) red\n(B) blue\n\nAnswer with the option's letter")
    question = load("mmmu_pro", data).questions[-1]
    plan = make_image_prompt(question, "plan")[0]["content"]
    assert [part["type"] for part in plan] == ["image", "text"] and "<plan>" in plan[1]["text"]
    raw = make_image_prompt(question, "raw")[0]["content"]
    assert raw[1]["text"] == question.prompt
    assert "\\boxed{}" in make_image_prompt(question, "official")[0]["content"][1]["text"]
    with pytest.raises(ConfigError, match="Did you mean 'plan'"):
        make_image_prompt(question, "plam")
    with pytest.raises(ConfigError, match="must be text, got chat messages"):
        make_image_prompt(Question("q", [{"role": "user", "content": "?"}], images=question.images), "plan")


def test_a_policy_of_text_is_refused_by_name(data, tmp_path, tiny_policy):
    policy = tiny_policy()
    with pytest.raises(
        ConfigError, match=r"questions of mmmu have images, and this model .llama. reads text only"
    ):
        run(load("mmmu", data), policy, output_dir=tmp_path / "out")
    with pytest.raises(
        ConfigError, match="mmmu_pro, mmmu, emma, mmk12_physics, mmk12_chemistry, mmk12_biology have"
    ):
        run_eval(policy, benchmarks.expand("all"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("damage", ["missing", "empty", "cut", "bomb"])
def test_an_image_that_cannot_be_opened_is_an_error_and_the_run_goes_on(data, tmp_path, damage):
    from test_images import png

    rows = [json.loads(line) for line in (data / "validation.jsonl").read_text().splitlines()]
    rows[3]["image_1"] = "bad.png"
    contents = {"empty": b"", "cut": (data / "a.png").read_bytes()[:60], "bomb": png(50_000, 50_000)}
    if damage in contents:
        (data / "bad.png").write_bytes(contents[damage])
    (data / "validation.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    result = run(load("mmmu", data), output_dir=tmp_path / "out")
    bad = [row for row in result.rows if row["id"] == "validation_Art_3"]
    assert len(result.rows) == 24 and len(bad) == 3
    for row in bad:
        assert (row["status"], row["finish_reason"], row["response"], row["tokens"]) == (
            "error",
            "image",
            "",
            0,
        )
        assert "question 'validation_Art_3', image 1: " in row["detail"] and "bad.png" in row["detail"]
    assert result.statuses["error"] == 3 and result.question_accuracies["validation_Art_3"] == 0.0
    again = run(load("mmmu", data), output_dir=tmp_path / "out")
    assert again.rows == result.rows


def test_official_guesses_do_not_depend_on_interruptions(data, tmp_path):
    whole = run(load("mmmu", data), official=True, output_dir=tmp_path / "whole")
    generator = random.Random(benchmarks.OFFICIAL_SEED)
    for row in whole.rows:
        expected = {"B": "B", "(A)": "A"}.get(row["response"]) or generator.choice(["A", "B"])
        assert row["extracted"] == expected and row["detail"].startswith("official, ")
    assert any(row["response"] == "no idea" for row in whole.rows[:9]) and whole.statuses["no_answer"] == 0
    for stop_after in (4, 11, 20):
        folder = tmp_path / str(stop_after)
        with pytest.raises(Stopped):
            run(load("mmmu", data), Sees(stop_after), official=True, output_dir=folder)
        run(load("mmmu", data), official=True, output_dir=folder, batch_size=5)
        assert (folder / "samples.jsonl").read_bytes() == (tmp_path / "whole" / "samples.jsonl").read_bytes()
    with pytest.raises(ResumeError, match="official: True there, None now"):
        run(load("mmmu", data), output_dir=tmp_path / "whole")
    ours = run(load("mmmu", data))
    assert ours.statuses["no_answer"] == sum(row["response"] == "no idea" for row in ours.rows)


def test_the_bar_estimates_when_all_is_done(data, capsys):
    run(load("mmmu", data), progress=True, samples_after=100)
    shown = capsys.readouterr().err
    assert "24/24" in shown and "accuracy" in shown and "all benchmarks done in 0" in shown
    run(load("mmmu", data), progress=True)
    assert "all benchmarks" not in capsys.readouterr().err


def test_mmmu_pro_is_the_mean_of_its_settings(data):
    result = run(load("mmmu_pro", data))
    settings = {key: value.mean for key, value in result.group_by("setting").items()}
    assert result.accuracy == pytest.approx(np.mean(list(settings.values())))
    assert result.accuracy != pytest.approx(np.mean(list(result.question_accuracies.values())))
    limited = run(load("mmmu_pro", data), limit=3)
    assert [row["id"] for row in limited.rows][::3] == ["test_Art_0", "test_Art_1", "vision/test_Art_0"]


def test_the_balanced_interval():
    half, quarter = [0.0, 1.0] * 20, [0.0, 0.0, 0.0, 1.0] * 5
    interval = balanced_interval([half, quarter])
    assert interval.mean == pytest.approx(0.375) and interval.clusters == 60
    errors = [clustered_interval(part).standard_error for part in (half, quarter)]
    assert interval.standard_error == pytest.approx(np.hypot(*errors) / 2)
    assert interval.low == pytest.approx(0.375 - 1.96 * interval.standard_error, abs=0.02)
    assert interval.high == pytest.approx(0.375 + 1.96 * interval.standard_error, abs=0.02)
    assert balanced_interval([half]) == clustered_interval(half)
    ones = balanced_interval([[1.0] * 4, [1.0] * 6])
    assert ones.method == "wilson" and ones.low == pytest.approx(clustered_interval([1.0] * 10).low)
    assert balanced_interval([[0.0] * 4, [1.0] * 4]).mean == 0.5
    with pytest.raises(ValueError, match="no values"):
        balanced_interval([])


def test_the_papers_two_tables_have_its_columns_in_its_order():
    results = []
    for index, name in enumerate(reversed(benchmarks.PAPER_ORDER)):
        spec = benchmarks.find(name)
        rows = [{"id": str(n), "status": "correct" if n < index else "wrong"} for n in range(10)]
        results.append(EvalResult(name, 1, rows, title=spec.title, side=spec.table))
    maths, multimodal = (render(table, 200) for table in paper_tables(results, "tiny"))
    heads = [maths.splitlines()[2], multimodal.splitlines()[2]]
    assert [cell.strip() for cell in heads[0].strip("┃").split("┃")] == [
        "model", "MATH500", "AIME 2024", "AIME 2025", "AMC 2023", "mean",
    ]  # fmt: skip
    assert [cell.strip() for cell in heads[1].strip("┃").split("┃")] == [
        "model", "MMMU-Pro", "MMMU", "EMMA", "MMK12-physics", "MMK12-chemistry", "MMK12-biology", "mean",
    ]  # fmt: skip
    assert "tiny" in maths and "90.0 [" in maths and "75.0" in maths  # 90, 80, 70 and 60 %
    assert "50.0 [" in multimodal and "25.0" in multimodal
    assert len(paper_tables(results[:1])) == 1


def test_the_command_line_explains_itself(tmp_path, capsys, monkeypatch, tiny_policy):
    monkeypatch.delenv("PTAGRPO_DATA", raising=False)
    assert main(["benchmarks"]) == 0
    listed = capsys.readouterr().out
    for name in benchmarks.PAPER_ORDER:
        line = next(line for line in listed.splitlines() if f" {name} " in line)
        assert benchmarks.find(name).hub_id in line and "not here" in line
    assert "3,460" in listed and "Apache-2.0" in listed
    assert main(["benchmarks", "--data_path", str(tmp_path / "no")]) == 2
    capsys.readouterr()
    tiny_policy().save_pretrained(tmp_path / "model")
    for arguments, message in (
        (["eval", str(tmp_path / "model"), "--benchmark", "all"], "reads text only"),
        (
            ["eval", "--benchmark", "mmmu,emma", "--responses", "a", "--output", "b"],
            "of one benchmark, got mmmu, emma",
        ),
        (["eval", "--official", "--responses", "a", "--output", "b"], "--official needs --benchmark"),
        (["eval", "m", "--responses", "a", "--output", "b"], "leave out the model"),
    ):
        assert main(arguments) == 2
        assert message in " ".join(capsys.readouterr().err.split())


def test_the_command_line_grades_officially(tmp_path, capsys):
    rows = [
        {"id": "1", "options": "['x', 'y']", "answer": "A", "response": "A"} | {"setting": s}
        for s in ("standard", "vision")
    ]
    rows[1]["response"] = "B"
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    command = ["eval", "--benchmark", "mmmu_pro", "--responses", str(tmp_path / "in.jsonl"), "--official"]
    assert main([*command, "--output", str(tmp_path / "out.jsonl")]) == 0
    out = capsys.readouterr().out
    assert "1 of 2 responses right, 2 questions; accuracy 50.0 %" in out
    assert "mean of standard 100.0 %, vision 0.0 %" in out


def test_real_rows_of_all_six_benchmarks(shared_data, tmp_path):
    """A handful of real rows of each kind with their images, from the file to the verdict."""
    pytest.importorskip("PIL", reason="Pillow is not installed")
    folder = shared_data / "multimodal"

    def rows(name):
        return [json.loads(line) for line in (folder / name).read_text(encoding="utf-8").splitlines()]

    tools = rows("mmmu_pro/tool_data.jsonl")
    for row in tools:
        row.update({name: str(folder / "mmmu_pro" / row[name]) for name in row if name.startswith("image_")})
    page = {
        "image": str(folder / "mmmu_pro/vision_pages/page_1.png"),
        "options": tools[0]["options"],
        "answer": "A",
    }
    emma = next(
        row for row in rows("mathvision/emma_math_sample.jsonl") if row["question"].count("<image") == 1
    )
    emma["image"] = str(folder / "mathvision" / emma["image"])
    by_id = {row["id"]: row for row in rows("mmk12/test_sample.jsonl")}
    school = [
        {**by_id[file.name.split("_")[0]], "image": str(file)} for file in (folder / "mmk12/images").iterdir()
    ]
    files = {"mmmu_pro": [*tools[4:7], page], "mmmu": tools[4:7], "emma": [emma]}
    files.update({f"mmk12_{subject}": school for subject in ("physics", "chemistry", "biology")})
    policy = Sees()
    for name, made in files.items():
        path = tmp_path / f"{name}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in made))
        result = run(benchmarks.load(name, path, partial=True), policy, k=1, prompt_style="official")
        assert result.statuses["error"] == 0 and len(result.rows) == {
            "mmmu_pro": 4,
            "mmmu": 3,
            "emma": 1,
        }.get(name, 3)
    assert all(any(part["type"] == "image" for part in prompt[0]["content"]) for prompt in policy.prompts)
    music = policy.prompts[1][0]["content"]
    assert [part["type"] == "image" for part in music].count(True) == 5
