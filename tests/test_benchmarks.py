"""Benchmarks: found by file, checked row by row, answers normalised, prompts as published."""

import json
import sys
import types
from pathlib import Path

import pytest

from ptagrpo import benchmarks
from ptagrpo.benchmarks import Benchmark, official_messages
from ptagrpo.errors import ConfigError, DataError

COUNTS = {"math500": 500, "aime24": 30, "aime25": 30, "amc23": 40}


def rows_of(count=30, **changes):
    rows = [{"id": n, "problem": f"What is {n} + 1?", "answer": f"{n + 1:03d}"} for n in range(count)]
    rows[5].update(changes)
    return rows


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture(autouse=True)
def no_data_folder(monkeypatch):
    monkeypatch.delenv("PTAGRPO_DATA", raising=False)


def test_names_are_the_files_of_the_folder():
    folder = Path(benchmarks.__file__).parent
    files = sorted(file.stem for file in folder.glob("*.py") if file.stem not in {"__init__", "base"})
    assert benchmarks.own_names() == files == sorted(benchmarks.PAPER_ORDER) and len(files) == 10
    assert all(benchmarks.find(name).name == name for name in files)
    assert {name: benchmarks.find(name).rows for name in COUNTS} == COUNTS
    assert benchmarks.expand("maths") == list(COUNTS) and len(benchmarks.expand("multimodal")) == 6
    assert benchmarks.expand("all") == benchmarks.expand("maths") + benchmarks.expand("multimodal")


@pytest.mark.parametrize("name", sorted(COUNTS))
def test_real_files_load_whole(shared_data, name):
    benchmark = benchmarks.load(name, shared_data)
    assert benchmark == benchmarks.load(name, shared_data / "maths" / f"{name}.jsonl")
    assert len(benchmark.questions) == COUNTS[name] == len({q.id for q in benchmark.questions})
    assert all(q.prompt.strip() and q.answer.strip() for q in benchmark.questions)
    if name != "math500":
        assert all(str(int(q.answer)) == q.answer for q in benchmark.questions)
    else:
        assert {q.columns["level"] for q in benchmark.questions} == {1, 2, 3, 4, 5}


def test_spelling_of_golds_is_normalised(shared_data):
    aime = benchmarks.load("aime24", shared_data)
    raw = [q.columns["answer"] for q in aime.questions]
    assert any(answer.startswith("0") for answer in raw)
    assert [int(q.answer) for q in aime.questions] == [int(answer) for answer in raw]
    amc = benchmarks.load("amc23", shared_data)
    assert amc.questions[0].columns["answer"] == 27.0 and amc.questions[0].answer == "27"


def test_data_folder_of_the_environment_is_used(shared_data, monkeypatch):
    monkeypatch.setenv("PTAGRPO_DATA", str(shared_data))
    assert benchmarks.load("aime25").source == str(shared_data / "maths" / "aime25.jsonl")


def test_official_prompt_is_the_step_by_step_instruction():
    benchmark = Benchmark("b", [])
    question = types.SimpleNamespace(prompt="What is 1 + 1?")
    assert benchmark.official_prompt(question) == [
        {
            "role": "system",
            "content": "Please reason step by step, and put your final answer within \\boxed{}.",
        },
        {"role": "user", "content": "What is 1 + 1?"},
    ]
    turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "1?"}]
    assert official_messages(turns)[0]["content"].startswith("Be brief.\nPlease reason")
    assert turns[0]["content"] == "Be brief."


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"problem": ""}, "expected a question in problem or question"),
        ({"problem": 7}, "expected text in 'problem'"),
        ({"answer": None}, "expected an answer in 'answer'"),
        ({"answer": "1000"}, "integer from 0 to 999"),
        ({"answer": "1/2"}, "integer from 0 to 999"),
        ({"answer": "x+1"}, "expected a number"),
        ({"answer": True}, "expected a number"),
        ({"answer": float("nan")}, "finite"),
        ({"id": None}, "expected an id in id"),
        ({"id": 4}, "id '4' was already in line 5"),
    ],
)
def test_a_malformed_row_names_file_and_line(tmp_path, changes, message):
    path = write(tmp_path / "aime24.jsonl", rows_of(**changes))
    with pytest.raises(DataError, match=message) as caught:
        benchmarks.load("aime24", path)
    assert caught.value.line == 6 and caught.value.file == str(path)
    assert f"{path}:6: " in str(caught.value)


def test_a_broken_line_and_a_wrong_count_are_refused(tmp_path):
    path = write(tmp_path / "aime24.jsonl", rows_of())
    assert len(benchmarks.load("aime24", path).questions) == 30
    with path.open("a") as file:
        file.write('{"id": 99, "prob')
    with pytest.raises(DataError, match=f"{path.name}:31: not a JSON line"):
        benchmarks.load("aime24", path)
    with pytest.raises(DataError, match="has 30 questions, this has 29"):
        benchmarks.load("aime24", write(path, rows_of()[:29]))
    with pytest.raises(DataError, match="no such file"):
        benchmarks.load("aime24", tmp_path / "nothing.jsonl")
    with pytest.raises(DataError, match="no aime25.jsonl in that folder"):
        benchmarks.load("aime25", tmp_path)


def test_unknown_names_get_a_suggestion():
    with pytest.raises(ConfigError, match="Did you mean 'math500'"):
        benchmarks.load("math50")


def test_a_file_of_ones_own_is_a_benchmark(tmp_path):
    rows = [{"question": "1+1?", "answer": 2.0}, {"prompt": "x?", "answer": r"\frac{1}{2}", "level": "hard"}]
    benchmark = benchmarks.load(write(tmp_path / "mine.jsonl", rows))
    assert benchmark.name == "mine"
    assert [(q.id, q.answer) for q in benchmark.questions] == [("1", "2"), ("2", r"\frac{1}{2}")]
    assert benchmark.questions[1].columns["level"] == "hard"


def fake_hub(monkeypatch, rows):
    asked = []

    def load_dataset(identity, split):
        asked.append((identity, split))
        if isinstance(rows, Exception):
            raise rows
        return rows

    monkeypatch.setitem(sys.modules, "datasets", types.SimpleNamespace(load_dataset=load_dataset))
    return asked


def test_without_a_file_the_hub_is_read(monkeypatch):
    rows = [{"id": str(n), "question": f"{n}?", "answer": float(n), "url": "u"} for n in range(40)]
    asked = fake_hub(monkeypatch, rows)
    benchmark = benchmarks.load("amc23")
    assert asked == [("math-ai/amc23", "test")]
    assert [q.answer for q in benchmark.questions] == [str(n) for n in range(40)]
    rows[7] = {**rows[7], "answer": "seven"}
    with pytest.raises(DataError, match="math-ai/amc23:8: benchmark 'amc23': expected a number"):
        benchmarks.load("amc23")


def test_an_unreachable_hub_says_what_to_do(monkeypatch):
    fake_hub(monkeypatch, ConnectionError("no route"))
    with pytest.raises(DataError, match="ConnectionError: no route.*PTAGRPO_DATA"):
        benchmarks.load("math500")
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ConfigError, match=r"ptagrpo\[data\]"):
        benchmarks.load("math500")
