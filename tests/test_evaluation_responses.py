"""Grading a file of responses: same rows out, whole or not at all, errors that name file and line."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ptagrpo.errors import ConfigError, DataError
from ptagrpo.evaluation import grade_responses_file

ROWS = [
    {
        "id": "a",
        "question": "1+1?",
        "answer": "2",
        "response": r"It is \boxed{2}.",
        "model": "m",
        "extra": [1, None],
    },
    {"id": "b", "answer": r"4\sqrt2", "responses": [r"\boxed{\sqrt{32}}", r"\boxed{4}", "no idea"]},
    {"question": "half?", "answer": 0.5, "response": "The answer is 1/2."},
    {"answer": 27.0, "response": "<answer>28</answer>"},
    {"answer": "π ünï", "response": "no", "id": None},
]


def write(path, rows):
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def read(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_rows_come_out_with_their_verdicts(tmp_path):
    summary = grade_responses_file(write(tmp_path / "in.jsonl", ROWS), tmp_path / "out.jsonl")
    verdicts = [
        ("2", "correct"),
        ([r"\sqrt{32}", "4", None], ["correct", "wrong", "no_answer"]),
        ("1/2", "correct"),
        ("28", "wrong"),
        (None, "no_answer"),
    ]
    expected = [
        {**row, "extracted": extracted, "status": status}
        for row, (extracted, status) in zip(ROWS, verdicts, strict=True)
    ]
    assert read(tmp_path / "out.jsonl") == expected
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.jsonl", "out.jsonl"]
    assert summary["n"] == 7 and summary["questions"] == 5 and summary["correct"] == 3
    assert summary["statuses"] == {"correct": 3, "wrong": 2, "no_answer": 2, "timeout": 0, "error": 0}
    assert summary["accuracy"] == pytest.approx((1 + 1 / 3 + 1 + 0 + 0) / 5)  # each question counts once
    assert summary["interval"]["mean"] == summary["accuracy"] and summary["interval"]["questions"] == 5


def test_rows_of_one_question_are_one_cluster(tmp_path):
    rows = [{"id": n % 3, "answer": "1", "response": rf"\boxed{{{n % 2}}}"} for n in range(30)]
    summary = grade_responses_file(write(tmp_path / "in.jsonl", rows), tmp_path / "out.jsonl")
    assert summary["questions"] == 3 and summary["n"] == 30
    rows = [{"question": f"q{n % 5}", "answer": "1", "response": "1"} for n in range(30)]
    assert grade_responses_file(write(tmp_path / "in.jsonl", rows), tmp_path / "out.jsonl")["questions"] == 5


def test_kind_exact(tmp_path):
    rows = [
        {"answer": "New York", "response": "<answer>new  york</answer>"},
        {"answer": "7", "response": r"\boxed{7.0}"},
    ]
    grade_responses_file(write(tmp_path / "in.jsonl", rows), tmp_path / "out.jsonl", kind="exact")
    assert [row["status"] for row in read(tmp_path / "out.jsonl")] == ["correct", "wrong"]


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"answer": "1"}, "either 'response' or 'responses'"),
        ({"answer": "1", "response": "a", "responses": ["a"]}, "either 'response' or 'responses'"),
        ({"answer": "1", "response": None}, "expected text in 'response', got NoneType"),
        ({"answer": "1", "responses": []}, "list of one or more texts"),
        ({"answer": "1", "responses": ["a", 3]}, "list of one or more texts"),
        ({"answer": "1", "responses": "a"}, "list of one or more texts"),
        ({"response": "a"}, "expected an answer"),
        ({"answer": "", "response": "a"}, "expected an answer"),
        ({"answer": ["1"], "response": "a"}, "expected an answer"),
    ],
)
def test_a_malformed_row_names_file_and_line_and_writes_nothing(tmp_path, bad, message):
    path = write(tmp_path / "in.jsonl", [*ROWS, bad, *ROWS])
    (tmp_path / "out.jsonl").write_text("as it was\n")
    with pytest.raises(DataError, match=message) as caught:
        grade_responses_file(path, tmp_path / "out.jsonl")
    assert str(caught.value).startswith(f"{path}:6: ")
    assert (tmp_path / "out.jsonl").read_text() == "as it was\n"
    assert len(list(tmp_path.iterdir())) == 2


def test_broken_json_empty_and_missing_files(tmp_path):
    path = write(tmp_path / "in.jsonl", ROWS)
    with path.open("a") as file:
        file.write('\n\n{"answer": "1", "resp')
    with pytest.raises(DataError, match=r"in.jsonl:8: not a JSON line"):
        grade_responses_file(path, tmp_path / "out.jsonl")
    path.write_text("\n")
    with pytest.raises(DataError, match="at least one row"):
        grade_responses_file(path, tmp_path / "out.jsonl")
    with pytest.raises(DataError, match="nothing.jsonl: no such file"):
        grade_responses_file(tmp_path / "nothing.jsonl", tmp_path / "out.jsonl")
    with pytest.raises(ConfigError, match="is the file of responses itself"):
        grade_responses_file(path, path)
    with pytest.raises(ConfigError, match="there is no folder"):
        grade_responses_file(write(path, ROWS), tmp_path / "no" / "out.jsonl")
    assert not (tmp_path / "out.jsonl").exists()


def test_half_a_surrogate_pair_survives(tmp_path):
    path = tmp_path / "in.jsonl"
    path.write_text('{"answer": "2", "response": "\\\\boxed{2} \\ud83d"}\n')
    grade_responses_file(path, tmp_path / "out.jsonl")
    (row,) = read(tmp_path / "out.jsonl")
    assert row["response"].endswith("\ud83d") and row["status"] == "correct"


def test_a_hanging_comparison_is_one_status_among_others(tmp_path):
    pytest.importorskip("math_verify", reason="the symbolic engine is not installed")
    rows = [{"answer": "1", "responses": [r"\boxed{9^{9^{9^{9}}}}", r"\boxed{1}"]}]
    summary = grade_responses_file(write(tmp_path / "in.jsonl", rows), tmp_path / "out.jsonl", timeout=0.7)
    assert read(tmp_path / "out.jsonl")[0]["status"] == ["timeout", "correct"]
    assert summary["accuracy"] == 0.5


def test_killed_in_the_middle_leaves_the_old_output(tmp_path):
    path = write(tmp_path / "in.jsonl", [{"answer": "1", "response": r"\boxed{9^{9^{9^{9}}}}"}] * 3)
    (tmp_path / "out.jsonl").write_text("as it was\n")
    root = Path(__file__).resolve().parent.parent
    program = (
        "from ptagrpo.evaluation import grade_responses_file as grade; "
        f"grade({str(path)!r}, {str(tmp_path / 'out.jsonl')!r}, timeout=60)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(root), *filter(None, sys.path)])}
    process = subprocess.Popen([sys.executable, "-c", program], env=environment)
    end = time.monotonic() + 20
    while not list(tmp_path.glob(".out.jsonl.*.tmp")) and time.monotonic() < end:
        time.sleep(0.05)
    assert list(tmp_path.glob(".out.jsonl.*.tmp")) and process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert (tmp_path / "out.jsonl").read_text() == "as it was\n"


# ---- agreement with the verdicts that came with real responses; docs/grading.md explains each disagreement

TRACES = {"math_cot_100x8": 800, "qwen2.5-3b-rlft_aime24": 30, "qwen2.5-3b-rlft_amc23": 40}
BY_ANSWER = {("math_cot_100x8", 3, sample) for sample in range(8)} | {("math_cot_100x8", 72, 7)}
BY_GT = {("math_cot_100x8", 72, 7)}


@pytest.mark.parametrize(("column", "expected"), [("answer", BY_ANSWER), ("gt", BY_GT)])
def test_agreement_with_the_verdicts_of_real_responses(shared_data, tmp_path, column, expected):
    disagreements, total = set(), 0
    for name, count in TRACES.items():
        traces = read(shared_data / "traces" / f"{name}.jsonl")
        rows = [{"id": row["idx"], "answer": row[column], "responses": row["code"]} for row in traces]
        output = tmp_path / f"{name}.jsonl"
        summary = grade_responses_file(write(tmp_path / "in.jsonl", rows), output)
        assert summary["n"] == count and summary["statuses"]["timeout"] == summary["statuses"]["error"] == 0
        for trace, graded in zip(traces, read(output), strict=True):
            for sample, (score, status) in enumerate(zip(trace["score"], graded["status"], strict=True)):
                total += 1
                if bool(score) != (status == "correct"):
                    disagreements.add((name, trace["idx"], sample))
                    assert status == "correct"  # all of them: ours accepts, theirs did not
    assert total == 870
    assert disagreements == expected
