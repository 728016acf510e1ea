"""Readers and formats: what is read, in whose words, and what a malformed row is told."""

from __future__ import annotations

import json
import sys
import types

import pytest

from ptagrpo.data import all_formats, load_questions, load_sft_rows, load_traces, read_rows
from ptagrpo.errors import ConfigError, DataError

GSM = {"question": "Two and 3 dozen?", "answer": "3*12=<<3*12=36>>36.\n36+2=<<36+2=38>>38\n#### 1,038"}
MATH = {
    "problem": "What is $1+1$?",
    "answer": "2",
    "level": 3,
    "type": "Algebra",
    "solution": "It is $\\boxed{2}$.",
}
COT = {
    "idx": 7,
    "question": "1+1?",
    "gt": "2",
    "code": ["so 2", "so 3", "<think> two </think> 2"],
    "pred": ["2", "3", "2"],
    "score": [True, False, True],
}
THOUGHTS = {
    "system": "s",
    "conversations": [
        {"from": "user", "value": "1+1?"},
        {
            "from": "assistant",
            "value": "<|begin_of_thought|>\n\nadd\n\n<|end_of_thought|>\n\n"
            "<|begin_of_solution|>\n\nIt is \\boxed{2}.\n\n<|end_of_solution|>",
        },
    ],
}
THOUGHTS_META = {
    "problem": "1+1?",
    "deepseek_reasoning": "add",
    "deepseek_solution": "It is \\boxed{2}.",
    "ground_truth_solution": "\\boxed{2}",
}
S1K = {
    "question": "1+1?",
    "solution": "2",
    "gemini_thinking_trajectory": "add",
    "gemini_attempt": "\\boxed{2}",
}
DEEPMATH = {
    "question": "1+1?",
    "final_answer": "2",
    "difficulty": 5.0,
    "topic": "t",
    "r1_solution_1": "<think>add</think> It is \\boxed{2}.",
    "r1_solution_2": "<think>count</think> The answer is 2.",
    "r1_solution_3": None,
}
VERL = {
    "data_source": "x",
    "prompt": [{"role": "user", "content": "1+1?"}],
    "ability": "math",
    "reward_model": {"style": "rule", "ground_truth": "2"},
    "extra_info": {"index": 0},
}


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def jsonl(path, rows):
    return write(path, "".join(json.dumps(row) + "\n" for row in rows))


# --- file kinds ---


class FakeDataset:
    """What `datasets.Dataset` looks like from outside."""

    column_names = ["question", "answer"]

    def __init__(self, rows):
        self.rows = rows

    def __len__(self):
        return len(self.rows)

    def __iter__(self):
        return iter(self.rows)


def test_every_kind_of_source_gives_the_same_rows(tmp_path):
    rows = [{"question": f"{k}+1?", "answer": str(k + 1)} for k in range(5)]
    sources = [
        rows,
        tuple(rows),
        (row for row in rows),
        FakeDataset(rows),
        jsonl(tmp_path / "a.jsonl", rows),
        write(tmp_path / "b.json", json.dumps(rows, indent=1)),
        str(tmp_path / "a.jsonl"),
    ]
    for source in sources:
        assert [row.values for row in read_rows(source)] == rows
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "c.parquet")
    assert [row.values for row in read_rows(tmp_path / "c.parquet")] == rows


def test_rows_know_their_lines(tmp_path):
    path = write(tmp_path / "a.jsonl", '{"a": 1}\n\n{"a": 2}\n')
    assert [(row.index, row.line) for row in read_rows(path)] == [(0, 1), (1, 3)]
    path = write(tmp_path / "b.json", '[\n {"a": 1},\n\n {"a":\n 2}, {"a": 3}]')
    assert [row.line for row in read_rows(path)] == [2, 4, 5]


@pytest.mark.parametrize(
    "name, text, line, told",
    [
        ("a.jsonl", '{"question": "x"}\n{"question": \n', 2, "one JSON object on the line"),
        ("a.jsonl", '{"question": "x"}\n[1]\n', 2, "got list"),
        ("a.jsonl", '{"q": 1}\n\n"text"\n', 3, "got str"),
        ("a.json", '[{"a": 1},\n {"a": }]', 2, "element 2"),
        ("a.json", '[{"a": 1}\n {"a": 2}]', 2, "',' or ']'"),
        ("a.json", '[{"a": 1},\n 7]', 2, "got int"),
        ("a.json", '[{"a": 1},', 1, "element 2"),
        ("a.json", '{"a": 1}\n{"a": 2}\n', 1, "rename it to .jsonl"),
        ("a.json", "\n\n3", 3, "'[' first"),
    ],
)
def test_a_malformed_file_is_refused_with_file_and_line(tmp_path, name, text, line, told):
    path = write(tmp_path / name, text)
    with pytest.raises(DataError) as caught:
        read_rows(path)
    assert caught.value.file == str(path) and caught.value.line == line
    assert str(caught.value).startswith(f"{path}:{line}: ") and told in str(caught.value)


def test_bytes_that_are_not_utf8_are_refused_with_their_line(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"a": 1}\n{"a": "\xff"}\n')
    with pytest.raises(DataError, match="a.jsonl:2: "):
        read_rows(path)


def test_missing_empty_and_unknown_files(tmp_path):
    jsonl(tmp_path / "train.jsonl", [GSM])
    with pytest.raises(DataError, match=r"no such file.*Did you mean 'train.jsonl'"):
        read_rows(tmp_path / "trian.jsonl")
    with pytest.raises(DataError, match=r"is a folder; name one of its files \(train.jsonl\)"):
        read_rows(tmp_path)
    with pytest.raises(DataError, match="at least one row"):
        read_rows(write(tmp_path / "empty.jsonl", ""))
    with pytest.raises(DataError, match="unknown kind of file '.csv'"):
        read_rows(write(tmp_path / "a.csv", "a,b\n"))
    with pytest.raises(DataError, match="expected a parquet file"):
        pytest.importorskip("pyarrow")
        read_rows(write(tmp_path / "a.parquet", "not parquet"))
    with pytest.raises(DataError, match=r"data\['train'\]"):
        read_rows({"train": [GSM]})
    with pytest.raises(DataError, match="row 2: expected a mapping"):
        read_rows([GSM, "text"])


def test_hub_ids_and_names_of_formats_go_through_the_datasets_package(monkeypatch):
    monkeypatch.delenv("PTAGRPO_DATA", raising=False)
    asked = []

    def load_dataset(name, config, split):
        asked.append((name, config, split))
        if name == "org/broken":
            raise RuntimeError("gated")
        return FakeDataset([GSM])

    monkeypatch.setitem(sys.modules, "datasets", types.SimpleNamespace(load_dataset=load_dataset))
    assert load_questions("gsm8k")[0].answer == "1038"
    assert load_traces("gsm8k", split="test")[0]["answer"] == "1038"
    assert load_questions("org/name")[0].answer == "1038"
    with pytest.raises(DataError, match="org/broken: could not load split 'train' from the hub: gated"):
        load_questions("org/broken")
    gsm = [("openai/gsm8k", "main", split) for split in ("train", "test")]
    assert asked[:3] == [*gsm, ("org/name", None, "train")]
    monkeypatch.setitem(sys.modules, "datasets", None)  # as if it were not installed
    with pytest.raises(ConfigError, match=r"'org/name' is not a file here.*pip install 'ptagrpo\[data\]'"):
        load_questions("org/name")


# --- formats ---


@pytest.mark.parametrize(
    "row, name, prompt, answer",
    [
        (GSM, "gsm8k", GSM["question"], "1038"),
        (MATH, "math_train", MATH["problem"], "2"),
        (COT, "math_cot", "1+1?", "2"),
        (THOUGHTS, "openthoughts", "1+1?", "2"),
        (THOUGHTS_META, "openthoughts", "1+1?", "2"),
        (S1K, "openthoughts", "1+1?", "2"),
        (DEEPMATH, "deepmath", "1+1?", "2"),
        (VERL, "verl", VERL["prompt"], "2"),
        ({"prompt": "1+1?", "solution": 2.0}, "plain", "1+1?", "2"),
        ({"prompt": VERL["prompt"], "ground_truth": 2}, "plain", VERL["prompt"], "2"),
    ],
)
def test_questions_of_every_format(row, name, prompt, answer):
    for data_format in ("auto", name):
        [question] = load_questions([row], data_format=data_format)
        assert (question.prompt, question.answer) == (prompt, answer)
    assert sum(f.detect(row) for f in all_formats().values() if f.name != "plain") == (name != "plain")


@pytest.mark.parametrize(
    "row, expected",
    [
        (GSM, [("3*12=36.\n36+2=38", "1038")]),
        (MATH, [("It is $\\boxed{2}$.", "2")]),
        (COT, [("so 2", "2"), ("two", "2")]),
        (THOUGHTS, [("add", "2")]),
        (THOUGHTS_META, [("add", "2")]),
        (S1K, [("add", "2")]),
        (DEEPMATH, [("add", "2"), ("count", "2")]),
        ({"question": "1+1?", "reasoning": "add", "answer": 2}, [("add", "2")]),
        ({"question": "1+1?", "solution": "so \\boxed{2}"}, [("so \\boxed{2}", "2")]),
    ],
)
def test_traces_of_every_format(row, expected):
    assert [(t["think"], t["answer"]) for t in load_traces([row])] == expected


def test_wrong_solutions_are_left_out_unless_wanted_and_counted_per_question():
    assert [t["answer"] for t in load_traces([COT], keep_wrong=True)] == ["2", "3", "2"]
    assert [t["think"] for t in load_traces([COT], per_question=1)] == ["so 2"]
    assert [t["id"] for t in load_traces([COT])] == ["7/0", "7/1"]


def test_ids_are_unique_and_columns_reach_the_rewards():
    rows = [
        {"id": "a", "question": "x", "answer": "1", "level": 2},
        {"id": "a", "question": "y", "answer": "1"},
        {"id": "a#2", "question": "z", "answer": "1"},
        {"question": "w", "answer": "1"},
    ]
    questions = load_questions(rows)
    assert [q.id for q in questions] == ["a", "a#2", "a#2#2", "3"]
    assert questions[0].columns == {"answer": "1", "level": 2}


def test_column_mapping():
    rows = [{"q": "1+1?", "gold": 2, "answer": "not this one"}]
    [question] = load_questions(rows, columns={"question": "q", "answer": "gold"})
    assert (question.prompt, question.answer) == ("1+1?", "2")
    with pytest.raises(DataError, match=r"row 1: column 'golt'.*Did you mean 'gold'"):
        load_questions(rows, columns={"answer": "golt"})


def test_a_row_that_does_not_fit_names_file_line_and_expectation(tmp_path):
    path = jsonl(tmp_path / "gsm.jsonl", [GSM, {"question": "x", "answer": "no final line"}])
    with pytest.raises(DataError, match=r"gsm.jsonl:2: expected a worked solution that ends in '#### N'"):
        load_questions(path)
    path = jsonl(tmp_path / "plain.jsonl", [{"question": "x", "answer": "1"}, {"query_text": "x"}])
    with pytest.raises(
        DataError, match=r"plain.jsonl:2: expected the question in a column named 'prompt' or"
    ):
        load_questions(path)
    with pytest.raises(DataError, match="row 1: expected a reference answer"):
        load_questions([{"question": "x"}], require_answer=True)
    with pytest.raises(DataError, match="finite number"):
        load_questions([{"question": "x", "answer": float("nan")}])
    with pytest.raises(ConfigError, match="unknown data format 'gsm'.*Did you mean 'gsm8k'"):
        load_questions([GSM], data_format="gsm")
    with pytest.raises(DataError, match="no worked solution"):
        load_traces([{"problem": "x", "answer": "1", "level": 1}])
    with pytest.raises(ConfigError, match="limit: expected at least 1"):
        load_questions([GSM], limit=0)


def test_sft_rows():
    rows = [
        {"problem": "x", "plan": "p", "think": "t", "answer": 2.0, "id": "k"},
        {"prompt": "x", "completion": "y"},
        {"text": "abc"},
        {"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]},
    ]
    assert load_sft_rows(rows) == [
        {"question": "x", "plan": "p", "think": "t", "id": "k", "answer": "2"},
        *rows[1:],
    ]


@pytest.mark.parametrize(
    "row, told",
    [
        ({"question": "x", "think": "t", "answer": "2"}, "`ptagrpo distill` adds plans"),
        ({"question": "x", "plan": " ", "think": "t", "answer": "2"}, "'plan' as text that is not blank"),
        ({"question": "x", "plan": "p", "think": "t"}, "column 'answer'"),
        ({"completion": "y"}, "'prompt' beside 'completion'"),
        ({"messages": [{"role": "user", "content": "x"}]}, "ending with the assistant's"),
        ({"nothing": 1}, "the row has ['nothing']"),
    ],
)
def test_a_malformed_sft_row_is_refused(row, told):
    good = {"prompt": "x", "completion": "y"}
    with pytest.raises(DataError) as caught:
        load_sft_rows([good, row])
    assert str(caught.value).startswith("row 2: ") and told in str(caught.value)


# --- the real files ---


def test_real_training_sets(shared_data):
    train = load_questions(shared_data / "maths" / "gsm8k_train.jsonl")
    assert len(train) == 7473 and train[0].answer == "72" and len({q.id for q in train}) == 7473
    assert all(float(q.answer) == int(q.answer) for q in train)
    traces = load_traces(shared_data / "maths" / "gsm8k_test.jsonl")
    assert len(traces) == 1319 and not any("<<" in t["think"] or "####" in t["think"] for t in traces)
    problems = load_questions(shared_data / "maths" / "math_train_problems.json")
    assert len(problems) == 7474 and problems[1].answer == "98" and problems[1].columns["difficulty"] == 5.0
    unanswered = [k for k, problem in enumerate(problems) if problem.answer is None]
    assert len(unanswered) == 4 and 886 in unanswered  # null or blank in the file itself


def test_real_traces(shared_data):
    path = shared_data / "traces" / "math_cot_100x8.jsonl"
    assert len(load_traces(path)) == 728 and len(load_traces(path, keep_wrong=True)) == 800
    assert len(load_questions(path)) == 100
    tuned = load_traces(shared_data / "traces" / "qwen2.5-3b-rlft_aime24.jsonl", keep_wrong=True)
    assert tuned and all("<think>" not in t["think"] and "</think>" not in t["think"] for t in tuned)


def test_real_openthoughts_like_parquet(shared_data):
    pytest.importorskip("pyarrow", reason="reading parquet needs pyarrow")
    path = shared_data / "traces" / "openthoughts_like_5.parquet"
    traces = load_traces(path)
    assert traces and all(t["think"] and t["answer"] for t in traces)
    assert "128" in {t["answer"] for t in traces}
