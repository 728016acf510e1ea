"""The six multimodal benchmarks: rows of the hub's schema, prompts, image order, answers, malformed rows."""

import json
import random
import sys
import types

import pytest
from multimodal_rows import rows_with_images

from ptagrpo import benchmarks
from ptagrpo.benchmarks import parse_options
from ptagrpo.errors import DataError

MMMU_ROWS = [
    {
        "id": "validation_Art_1", "question": "Who painted <image 1>?", "options": "['Monet', 'a \\'b\\'']",
        "answer": "B", "question_type": "multiple-choice", "image_1": {"bytes": b"one", "path": "1.png"},
        "image_2": None,
    },
    {
        "id": "validation_Art_Theory_2", "question": "<image 2> after <image 1>: how much?", "options": "[]",
        "answer": "['24/7', '3.429']", "question_type": "short-answer", "image_1": {"bytes": b"one", "path": None},
        "image_2": {"bytes": b"two", "path": None},
    },
]  # fmt: skip
PRO_ROWS = [
    {
        "id": "test_Art_1", "question": "See <image 1>", "options": "['x', '<image 2>']", "answer": "A",
        "subject": "Art", "image_1": "1.png", "image_2": "2.png",
    },
    {"id": "test_Art_1", "image": "page.png", "options": "['x', '<image 2>']", "answer": "A", "subject": "Art"},
]  # fmt: skip
EMMA_ROWS = [
    {
        "pid": "Math_1", "context": "Dice.", "question": "Which of <image_1>?", "options": ["one", "two"],
        "answer": "B", "image_1": "1.png", "subject": "Math", "task": "t",
    },
    {"pid": "Coding_2", "question": "How many in <image_1>?", "options": [], "answer": "12.5", "image_1": "1.png"},
]  # fmt: skip
MMK12_ROWS = [
    {
        "id": f"{subject}{n}", "question": "What follows?\nA. red\nB. $x^2$ ", "answer": "B", "subject": subject,
        "image": "1.png",
    }
    for subject in ("physics", "biology", "Chemistry", "math")
    for n in range(2)
]  # fmt: skip


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def parquet(path, rows):
    """A parquet file as the hub has it: images are structs of bytes and path."""
    arrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    from pyarrow import parquet as files

    path.parent.mkdir(parents=True, exist_ok=True)
    files.write_table(arrow.Table.from_pylist(rows), path)
    return path


@pytest.fixture(autouse=True)
def no_data_folder(monkeypatch):
    monkeypatch.delenv("PTAGRPO_DATA", raising=False)


def test_mmmu_reads_the_folder_that_the_hub_keeps(tmp_path):
    spec = benchmarks.find("mmmu")
    assert len(spec.parts) == 30 and spec.rows == 900
    for part in spec.parts:
        rows = [{**row, "id": row["id"].replace("Art", part.config)} for row in MMMU_ROWS]
        parquet(tmp_path / "MMMU" / part.config / "validation-00000-of-00001.parquet", rows)
    with pytest.raises(DataError, match="has 900 questions, this has 60"):
        benchmarks.load("mmmu", tmp_path / "MMMU")
    for folder in (tmp_path, tmp_path / "MMMU"):
        benchmark = benchmarks.load("mmmu", folder, partial=True)
        assert [q.columns["subject"] for q in benchmark.questions][::2] == [
            part.config for part in spec.parts
        ]
    choice, opened = benchmark.questions[:2]
    assert choice.prompt == "Who painted <image 1>?\n(A) Monet\n(B) a 'b'" and choice.answer == "B"
    assert choice.images == [b"one"] and opened.images == [b"one", b"two"]
    assert benchmark.official_prompt(choice) == (
        f"{choice.prompt}\n\nAnswer with the option's letter from the given choices directly."
    )
    assert opened.columns["golds"] == ["24/7", "3.429"] and opened.answer == "24/7"
    assert benchmark.official_prompt(opened).endswith("using a single word or phrase.")
    (tmp_path / "MMMU" / "Sociology" / "validation-00000-of-00001.parquet").unlink()
    with pytest.raises(DataError, match="no such file and no validation.jsonl"):
        benchmarks.load("mmmu", tmp_path / "MMMU")


def test_mmmu_pro_has_two_settings_of_equal_weight(tmp_path):
    write(tmp_path / "standard.jsonl", PRO_ROWS[:1])
    write(tmp_path / "vision.jsonl", PRO_ROWS[1:])
    benchmark = benchmarks.load("mmmu_pro", tmp_path, partial=True)
    standard, vision = benchmark.questions
    assert (standard.id, vision.id) == ("test_Art_1", "vision/test_Art_1")
    assert [q.columns["setting"] for q in benchmark.questions] == ["standard", "vision"]
    assert standard.prompt == "See <image 1>\nA. x\nB. <image 2>"
    assert standard.images == [str(tmp_path / "1.png"), str(tmp_path / "2.png")]
    assert vision.images == [str(tmp_path / "page.png")] and "<image" not in vision.prompt
    assert benchmark.official_prompt(standard).startswith(f"{standard.prompt}\nAnswer the preceding")
    for question in benchmark.questions:
        assert "format: 'Answer: $LETTER' (without quotes)" in benchmark.official_prompt(question)
    assert benchmark.spec.balance == "setting" and benchmark.spec.rows == 2 * 1730


def test_mmmu_pros_prompts_are_the_published_ones(shared_data):
    yaml = pytest.importorskip("yaml")
    published = yaml.safe_load((shared_data / "multimodal/mmmu_pro/prompts.yaml").read_text())["cot"]
    from ptagrpo.benchmarks import mmmu_pro

    assert published["standard"] == mmmu_pro.ASK_STANDARD and published["vision"] == mmmu_pro.ASK_VISION


def test_emma_and_its_four_parts(tmp_path):
    benchmark = benchmarks.load("emma", write(tmp_path / "test.jsonl", EMMA_ROWS), partial=True)
    choice, opened = benchmark.questions
    assert choice.prompt == "Dice.\n\nWhich of <image 1>?\n\nA: one\nB: two"
    assert (opened.prompt, opened.answer, opened.columns["part"]) == (
        "How many in <image 1>?",
        "12.5",
        "Coding",
    )
    assert "letter in one \\boxed{}" in benchmark.official_prompt(choice)
    assert "word or phrase and put the answer in one \\boxed{}" in benchmark.official_prompt(opened)
    assert [part.config for part in benchmark.spec.parts] == ["Chemistry", "Coding", "Math", "Physics"]


def test_mmk12_takes_its_subject_of_one_file(tmp_path):
    path = write(tmp_path / "test.jsonl", MMK12_ROWS)
    for subject, count in (("physics", 2), ("chemistry", 2), ("biology", 2)):
        benchmark = benchmarks.load(f"mmk12_{subject}", path, partial=True)
        assert len(benchmark.questions) == count
        assert {q.columns["subject"].lower() for q in benchmark.questions} == {subject}
    question = benchmark.questions[0]
    assert question.columns["choices"] == {"A": "red", "B": "$x^2$"}
    assert benchmark.official_prompt(question) == question.prompt == MMK12_ROWS[0]["question"]
    (tmp_path / "data").mkdir()
    parquet(tmp_path / "data" / "test-00000-of-00001.parquet", MMK12_ROWS)
    path.unlink()
    assert len(benchmarks.load("mmk12_biology", tmp_path, partial=True).questions) == 2


def test_real_rows_with_their_images(shared_data, tmp_path):
    """The rows with images that there are of each benchmark become questions whose images are files."""
    found = rows_with_images(shared_data)
    for name, data, count in found:
        benchmark = benchmarks.load(name, write(tmp_path / "rows.jsonl", data), partial=True)
        assert len(benchmark.questions) == count, name
        assert all(q.images and all(map(_is_file, q.images)) for q in benchmark.questions)
    music = benchmarks.load("mmmu_pro", write(tmp_path / "rows.jsonl", found[0][1]), partial=True).questions[5]
    assert len(music.images) == 5 and "A. <image 4>\nB. <image 2>" in music.prompt


def _is_file(path):
    from pathlib import Path

    return Path(path).is_file()


def test_all_real_options_and_answers_parse(shared_data):
    for name in ("standard10_options", "vision"):
        path = shared_data / f"multimodal/mmmu_pro/gpt-4o_{name}_direct.jsonl"
        spec = benchmarks.find("mmmu_pro")
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        questions = [benchmarks.to_question(spec, row, n, with_images=False) for n, row in enumerate(rows)]
        assert all(question.answer in question.columns["choices"] for question in questions)
        assert len({question.id for question in questions}) == 1730


def test_options_are_read_as_data_and_never_run():
    assert parse_options(None) == parse_options("[]") == parse_options("") == []
    assert parse_options(["x", 2]) == ["x", "2"] and parse_options("('x', 'y')") == ["x", "y"]
    assert parse_options("[['A', 'B']]") == ["A", "B"]
    assert parse_options("[['A', 'B']]", unwrap=False) == ["['A', 'B']"]
    for bad in (
        "['x', 'y'",
        "__import__('os').getcwd()",
        "7",
        {"A": 1},
        "[" * 100_000,
        [str(n) for n in range(27)],
    ):
        with pytest.raises(ValueError, match="options do not parse"):
            parse_options(bad)


@pytest.mark.parametrize(
    ("name", "rows", "changes", "message"),
    [
        ("mmmu", MMMU_ROWS[:1], {"options": "['x', "}, "options do not parse: expected a list"),
        ("mmmu", MMMU_ROWS[:1], {"answer": "C"}, "expected an answer among A, B, got 'C'"),
        ("mmmu", MMMU_ROWS[1:], {"answer": None}, "expected an answer as text or a number"),
        ("mmmu", MMMU_ROWS[:1], {"question": "<image 4>?"}, "has <image 4>, the row has 1 image"),
        ("mmmu", MMMU_ROWS[:1], {"image_1": None}, "expected an image in image_1, image_2"),
        ("mmmu", MMMU_ROWS[:1], {"image_1": 7}, "expected an image in 'image_1' .a path or bytes., got int"),
        ("mmmu_pro", PRO_ROWS[:1], {"options": "[]"}, "expected options, got none"),
        (
            "emma",
            EMMA_ROWS[:1],
            {"question": "<image_1> and <image_1>"},
            "<image 1> 2 times; expected each image once",
        ),
        ("emma", EMMA_ROWS[:1], {"question": " "}, "expected text in 'question'"),
        ("mmk12_physics", MMK12_ROWS[:1], {"answer": "E"}, "expected an answer among A, B, got 'E'"),
        ("mmk12_physics", MMK12_ROWS[:1], {"image": ""}, "expected an image in image"),
    ],
)
def test_a_malformed_row_is_named(tmp_path, name, rows, changes, message):
    good = [json.loads(json.dumps(row, default=lambda b: "1.png")) for row in rows]
    for row in good:
        row.update({k: "1.png" for k in row if k.startswith("image") and row[k]})
    path = write(tmp_path / "rows.jsonl", [*good, {**good[0], "id": "bad", "pid": "bad", **changes}])
    with pytest.raises(DataError, match=message) as caught:
        benchmarks.load(name, path, partial=True)
    assert str(caught.value).startswith(f"{path}:2: benchmark '{name}': ")


def test_an_image_that_mmmu_mentions_twice_is_noted(tmp_path):
    row = {**PRO_ROWS[0], "question": "Fig. 1 of <image 1>, Fig. 2 of <image 1>"}
    path = write(tmp_path / "rows.jsonl", [row])
    benchmark = benchmarks.load("mmmu_pro", path, partial=True)
    (note,) = benchmark.notes
    assert note.startswith(f"{path}:1: question 'test_Art_1' mentions an image more than once")


def test_the_hub_gives_every_part_with_undecoded_images(monkeypatch):
    class Image:
        def __init__(self, decode=True):
            self.decode = decode

    class Rows(list):
        features = {"image": Image(), "id": object()}
        cast = 0

        def cast_column(self, name, feature):
            assert name == "image" and feature.decode is False
            Rows.cast += 1
            return self

    asked = []

    def load_dataset(*which, split):
        asked.append((*which, split))
        row = PRO_ROWS["vision" in which]
        return Rows([{**row, **{name: b"x" for name in row if name.startswith("image")}}])

    fake = types.SimpleNamespace(load_dataset=load_dataset, Image=Image)
    monkeypatch.setitem(sys.modules, "datasets", fake)
    benchmark = benchmarks.load("mmmu_pro", partial=True)
    assert asked == [("MMMU/MMMU_Pro", "standard (10 options)", "test"), ("MMMU/MMMU_Pro", "vision", "test")]
    assert Rows.cast == 2
    assert [q.columns["setting"] for q in benchmark.questions] == ["standard", "vision"]
    assert benchmark.questions[0].images == [b"x", b"x"]
    with pytest.raises(DataError, match="has 3460 questions, this has 2"):
        benchmarks.load("mmmu_pro")


@pytest.mark.parametrize("name", ["mmk12_physics", "emma"])
def test_boxed_letters_by_the_published_rule(name):
    spec = benchmarks.find(name)
    row = {"id": "1", "pid": "1", "question": "?\nA. x\nB. y", "answer": "B", "subject": "physics"}
    if name == "emma":
        row["options"] = ["x", "y"]
    question = benchmarks.to_question(spec, row, 1, with_images=False)
    generator = random.Random(42)
    for response, status in (
        (r"\boxed{B}", "correct"), (r"\boxed{\text{(B) y}}", "correct"), (r"\boxed{A} no \boxed{B}", "correct"),
        (r"\boxed{A}", "wrong"), (r"\boxed{y}", "wrong"), ("B", "no_answer"),
        ("<answer>B</answer>", "correct" if name.startswith("mmk12") else "no_answer"),
    ):  # fmt: skip
        assert spec.official(question, response, generator).status == status, response


def test_emmas_open_answers_by_the_published_rule():
    spec = benchmarks.find("emma")
    question = benchmarks.to_question(spec, {**EMMA_ROWS[1]}, 1, with_images=False)
    for response, status in (
        (r"\boxed{12.5}", "correct"), (r"\boxed{12.504}", "correct"), (r"\boxed{12.51}", "wrong"),
        (r"\boxed{twelve}", "wrong"), ("12.5", "no_answer"),
    ):  # fmt: skip
        assert spec.official(question, response, random.Random(0)).status == status, response
