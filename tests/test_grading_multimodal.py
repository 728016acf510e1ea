"""Responses to multimodal questions: the published verdicts reproduced, and every difference between the published
rules and ours, by class. `docs/grading.md` has the same counts."""

import json
import random
import re
from collections import Counter
from pathlib import Path

import pytest

from ptagrpo import benchmarks
from ptagrpo.answers import Judge
from ptagrpo.answers.choices import stated_choice
from ptagrpo.answers.official import parse_choice, parse_open
from ptagrpo.benchmarks.support.options import row_options
from ptagrpo.benchmarks.support.verdicts import rounds_to
from ptagrpo.errors import ConfigError, DataError
from ptagrpo.evaluation import grade_responses_file

DOCS = Path(__file__).resolve().parent.parent / "docs" / "grading.md"
# (published rule, what ours finds) -> number of responses whose letter differs
CLASSES = {
    "mmmu": {("guess", "stated"): 2, ("letter", "nothing"): 1},
    "mmmu_pro standard": {
        ("guess", "nothing"): 3, ("guess", "stated"): 3, ("letter", "stated"): 140, ("letter", "nothing"): 7,
        ("text", "stated"): 1, ("nested options", "stated"): 1,
    },
    "mmmu_pro vision": {
        ("guess", "nothing"): 47, ("letter", "nothing"): 158, ("letter", "no option"): 1, ("final", "nothing"): 2,
        ("text", "nothing"): 1, ("nested options", "stated"): 1,
    },
}  # fmt: skip
FILES = {"standard": "gpt-4o_standard10_options_direct", "vision": "gpt-4o_vision_direct"}


def write(path, rows):
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def read(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def grade(tmp_path, rows, **settings):
    summary = grade_responses_file(write(tmp_path / "in.jsonl", rows), tmp_path / "out.jsonl", **settings)
    return summary, read(tmp_path / "out.jsonl")


def mmmu_rows(shared_data):
    """The 900 responses in the order of the official parse, and that parse."""
    folder = shared_data / "multimodal" / "mmmu" / "llava1.5_13b"
    parse = json.loads((folder / "llava1.5_13b_total_val_output.json").read_text())
    rows = {}
    for file in folder.glob("*_output.json"):
        if "total" not in file.name:
            rows.update({row["id"]: row for row in json.loads(file.read_text())})
    return [rows[name] for name in parse], parse


def pro_rows(shared_data, setting):
    path = shared_data / "multimodal" / "mmmu_pro" / f"{FILES[setting]}.jsonl"
    return [{**row, "setting": setting} for row in read(path)]


def difference(row, version, generator):
    """The class of a response whose published letter is not ours; None where they agree."""
    choices = row_options(row)
    published = parse_choice(row["response"], row_options(row, unwrap=False), generator, version)
    ours = stated_choice(row["response"], choices)
    if published.rule != "guess" and row.get("pred_indexs", published.letter) == ours.letter:
        return None
    found = "stated" if ours.letter else "nothing" if ours.text is None else "no option"
    if len(choices) != len(row_options(row, unwrap=False)):
        return "nested options", found
    return {"bracket": "letter", "dot": "letter"}.get(published.rule, published.rule), found


def test_the_official_parse_of_mmmu_is_reproduced(shared_data, tmp_path):
    """900 of 900: each letter, guesses included; of open answers the file keeps one of the candidates."""
    rows, parse = mmmu_rows(shared_data)
    golds = json.loads((shared_data / "multimodal/mmmu/answer_dict_val.json").read_text())
    assert all(golds[row["id"]]["ground_truth"] == row["answer"] for row in rows) and len(rows) == 900
    summary, graded = grade(tmp_path, rows, benchmark="mmmu", official=True)
    for row in graded:
        if row["question_type"] == "multiple-choice":
            assert row["extracted"] == parse[row["id"]]
            assert (row["status"] == "correct") == (parse[row["id"]] == row["answer"])
        else:
            assert parse[row["id"]] in [str(candidate) for candidate in parse_open(row["response"])]
            assert parse[row["id"]] in row["extracted"].split(" | ")
    assert summary["correct"] == 330 and summary["statuses"]["no_answer"] == 0


def test_the_official_verdicts_of_mmmu_pro_are_reproduced(shared_data, tmp_path):
    """3,405 of 3,460 letters exactly; the other 55 are those that the published run guessed, without a known seed."""
    guessed = Counter()
    for setting in FILES:
        rows = pro_rows(shared_data, setting)
        generator = random.Random(benchmarks.OFFICIAL_SEED)
        _, graded = grade(tmp_path, rows, benchmark="mmmu_pro", official=True)
        for row in graded:
            rule = parse_choice(row["response"], row_options(row, unwrap=False), generator, "mmmu_pro").rule
            if rule == "guess":
                guessed[setting] += 1
                assert (
                    row["pred_indexs"] in row_options(row, unwrap=False)
                    or row["id"] == "validation_Accounting_29"
                )
                continue
            assert row["extracted"] == row["pred_indexs"], row["id"]
            assert (row["status"] == "correct") == row["if_right"], row["id"]
    assert guessed == {"standard": 7, "vision": 48}


def test_every_difference_from_the_official_rules_by_class(shared_data):
    rows = {"mmmu": mmmu_rows(shared_data)[0]}
    rows.update({f"mmmu_pro {setting}": pro_rows(shared_data, setting) for setting in FILES})
    for name, responses in rows.items():
        generator = random.Random(benchmarks.OFFICIAL_SEED)
        choice = [row for row in responses if row.get("question_type") != "short-answer"]
        found = Counter(difference(row, name.split()[0], generator) for row in choice)
        found.pop(None)
        assert found == CLASSES[name], name


def test_open_answers_differ_once(shared_data, tmp_path):
    rows = [row for row in mmmu_rows(shared_data)[0] if row["question_type"] == "short-answer"]
    _, official = grade(tmp_path, rows, benchmark="mmmu", official=True)
    _, ours = grade(tmp_path, rows, benchmark="mmmu")
    different = [
        (a["response"], b["answer"])
        for a, b in zip(official, ours, strict=True)
        if a["status"] != b["status"]
    ]
    assert len(rows) == 53 and different == [("Step b", "B")]  # it contains " b"
    assert {row["status"] for row in ours} == {"correct", "wrong"}


def test_default_figures_on_the_real_responses(shared_data, tmp_path):
    rows, _ = mmmu_rows(shared_data)
    summary, _ = grade(tmp_path, rows, benchmark="mmmu")
    assert summary["statuses"] == {"correct": 328, "wrong": 571, "no_answer": 1, "timeout": 0, "error": 0}
    both = [row for setting in FILES for row in pro_rows(shared_data, setting)]
    summary, graded = grade(tmp_path, both, benchmark="mmmu_pro")
    assert summary["statuses"] == {"correct": 1459, "wrong": 1783, "no_answer": 218, "timeout": 0, "error": 0}
    assert summary["parts"] == {"standard": 743 / 1730, "vision": 716 / 1730}
    assert summary["accuracy"] == pytest.approx(1459 / 3460) and summary["questions"] == 3460
    assert [row["id"] for row in graded] == [row["id"] for row in both]


def test_the_documented_counts_are_these():
    text = DOCS.read_text(encoding="utf-8")
    documented = re.findall(
        r"^\| (guess|letter|text|final|nested options) \| (\w+(?: \w+)?) \|([^|]*\|[^|]*\|[^|]*)\|",
        text,
        re.M,
    )
    table = {}
    for rule, found, cells in documented:
        for name, cell in zip(CLASSES, cells.split("|"), strict=True):
            if cell.strip() != "–":
                table.setdefault(name, {})[(rule, found)] = int(cell)
    assert table == CLASSES


# ---- rows of our own, for every branch; and real rows with answers written here

OWN = [
    {"id": "1", "options": ["x", "y", "z"], "answer": "B", "responses": [r"\boxed{B}", "(C) or (B)", "no idea", "Z"]},
    {"id": "2", "options": "['red', 'blue']", "answer": "A", "response": "I'm sorry."},
    {"id": "3", "options": "[]", "answer": "['24/7', '3.429']", "responses": [r"\boxed{3.4290}", "24/7", "3.4"]},
]  # fmt: skip


def test_own_rows_by_default_and_officially(tmp_path):
    summary, rows = grade(tmp_path, OWN, benchmark="mmmu")
    assert [row["extracted"] for row in rows] == [["B", None, None, "C"], None, ["3.4290", "24/7", "3.4"]]
    assert [row["status"] for row in rows] == [
        ["correct", "no_answer", "no_answer", "wrong"], "no_answer", ["correct", "correct", "wrong"],
    ]  # fmt: skip
    assert summary["accuracy"] == pytest.approx((1 / 4 + 0 + 2 / 3) / 3)
    generator = random.Random(42)
    guesses = [
        generator.choice("ABC"),
        generator.choice("ABC"),
        generator.choice("ABC"),
        generator.choice("AB"),
    ]
    summary, rows = grade(tmp_path, OWN, benchmark="mmmu", official=True)
    assert rows[0]["extracted"] == [guesses[0], "B", *guesses[1:3]] and rows[1]["extracted"] == guesses[3]
    assert rows[2]["status"] == ["correct", "correct", "wrong"] and summary["statuses"]["no_answer"] == 0


@pytest.mark.parametrize("official", [False, True])
def test_mmk12_on_the_shared_rows(shared_data, tmp_path, official):
    rows = read(shared_data / "multimodal/mmk12/test_sample.jsonl")
    for subject, count in (("physics", 31), ("chemistry", 20), ("biology", 24)):
        own = [row for row in rows if row["subject"] == subject]
        answered = []
        for row in own:
            other = next(letter for letter in "DCBA" if letter != row["gold"])
            responses = [
                rf"<think>{other}?</think> <answer> \boxed{{{row['gold']}}} </answer>",
                rf"\boxed{{\text{{{row['gold']}}}}}",
                f"<answer>{row['gold']}</answer>",
                rf"{row['gold']}, so \boxed{{{other}}}",
                "The figure cannot be seen.",
            ]
            answered.append({**row, "responses": responses})
        summary, graded = grade(tmp_path, answered, benchmark=f"mmk12_{subject}", official=official)
        assert len(own) == count and summary["accuracy"] == pytest.approx(3 / 5)
        assert all(row["status"] == [*["correct"] * 3, "wrong", "no_answer"] for row in graded)
    with pytest.raises(
        DataError, match="in.jsonl:1: expected subject 'physics' for benchmark 'mmk12_physics', got 'math'"
    ):
        grade(tmp_path, [{**rows[0], "response": "A"}], benchmark="mmk12_physics")


@pytest.mark.parametrize("official", [False, True])
def test_emma_on_the_shared_rows(shared_data, tmp_path, official):
    rows = read(shared_data / "multimodal/mathvision/emma_math_sample.jsonl")
    answered = []
    for row in rows:
        text = row["options"]["ABCDE".index(row["answer"])]
        other = "B" if row["answer"] == "A" else "A"
        responses = [
            rf"so \boxed{{{row['answer']}}}",
            rf"\boxed{{({row['answer']})}}",
            rf"\boxed{{{other}}}",
            "?",
        ]
        answered.append({**row, "responses": responses, "value": text})
    summary, graded = grade(tmp_path, answered, benchmark="emma", official=official)
    assert len(rows) == 60 and summary["accuracy"] == pytest.approx(1 / 2)
    assert all(row["status"] == ["correct", "correct", "wrong", "no_answer"] for row in graded)
    if not official:  # ours also takes the text of the option for its letter
        texts = [row for row in answered if len(set(row["options"])) == 5 and len(row["value"]) > 3]
        boxed = [{**row, "responses": [rf"\boxed{{{row['value']}}}"]} for row in texts]
        summary, _ = grade(tmp_path, boxed, benchmark="emma")
        assert len(texts) >= 8 and summary["accuracy"] == 1.0


def test_rows_without_an_answer_are_looked_up(tmp_path):
    data = [
        {"id": f"v_{n}", "question": f"{n}<image 1>", "options": "['x', 'y']", "answer": "AB"[n % 2]}
        for n in range(4)
    ]
    for row in data:
        row["image_1"] = "1.png"
    (tmp_path / "data").mkdir()
    write(tmp_path / "data" / "validation.jsonl", data)
    rows = [{"id": f"v_{n}", "response": "A"} for n in (3, 2, 1, 0)]
    settings = {"benchmark": "mmmu", "data_path": tmp_path / "data"}
    summary, graded = grade(tmp_path, rows, **settings)
    assert [row["status"] for row in graded] == ["wrong", "correct", "wrong", "correct"]
    assert summary["accuracy"] == 0.5
    with pytest.raises(
        DataError, match="in.jsonl:1: 'mmmu' has no question 'v_9', and the row has no 'answer'"
    ):
        grade(tmp_path, [{"id": "v_9", "response": "A"}], **settings)
    with pytest.raises(
        DataError, match="in.jsonl:1: expected an 'answer', or the 'id' of a question of 'mmmu'"
    ):
        grade(tmp_path, [{"response": "A"}], **settings)


def test_mathematics_by_name_has_its_own_golds(tmp_path):
    rows = [
        {"id": "7", "answer": "033", "response": r"\boxed{33}"},
        {"id": "8", "answer": 27.0, "response": "27"},
    ]
    summary, graded = grade(tmp_path, rows, benchmark="aime24", official=True)
    assert [row["status"] for row in graded] == ["correct", "no_answer"] and summary["correct"] == 1
    with pytest.raises(DataError, match="in.jsonl:1: expected an integer from 0 to 999"):
        grade(tmp_path, [{"answer": "1000", "response": "1"}], benchmark="aime24")
    with pytest.raises(ConfigError, match="Did you mean 'mmmu'"):
        grade(tmp_path, rows, benchmark="mmmmu")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"options": "['x', ", "answer": "A"}, "options do not parse"),
        ({"index2ans": {"AB": "x"}, "answer": "A"}, "expected letters in index2ans"),
        ({"options": "['x', 'y']", "answer": "C"}, "expected an answer among A, B, got 'C'"),
    ],
)
def test_rows_that_cannot_be_graded_are_named(tmp_path, row, message):
    with pytest.raises(DataError, match=message) as caught:
        grade(tmp_path, [*OWN, {"id": "4", "response": "A", **row}], benchmark="mmmu")
    assert caught.value.line == 4 and not (tmp_path / "out.jsonl").exists()


def test_a_number_is_compared_at_the_decimals_of_the_gold():
    for stated, gold, same in (
        ("12.974", "12.97", True), ("12.9", "12.97", False), ("0.29", "0.286", False), ("$1,464", "1464", True),
        ("8200000", "8200", False), ("9.2", "9.20", True), ("nan", "1", False),
        ("1e999999", "1", False), ("x", "1", False),
    ):  # fmt: skip
        assert rounds_to(stated, gold) is same, stated
    with Judge() as judge:
        spec = benchmarks.find("mmmu")
        question = benchmarks.to_question(
            spec, {"id": "1", "question": "?", "answer": "1/64"}, 1, with_images=False
        )
        assert spec.grade(question, r"\boxed{\frac{1}{64}}", judge).correct
        assert not spec.grade(question, "64", judge).correct
        assert spec.grade(question, "I see nothing\nin this image", judge).status == "no_answer"
