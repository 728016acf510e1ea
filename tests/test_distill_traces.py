"""Stage 1 on real traces: what is verified before and after a teacher on a real HTTP server is asked, and the
counts of what was dropped."""

from __future__ import annotations

import json

import pytest
from teacher_server import Act, TeacherServer

from ptagrpo.answers import Judge
from ptagrpo.cli import main
from ptagrpo.data import load_sft_rows, read_traces
from ptagrpo.distill import EndpointTeacher, distill_plans, mismatches
from ptagrpo.io import read_jsonl

pytest.importorskip("openai", reason="the endpoint teacher needs the openai client")

PLAN = "1. Name what is asked.\n2. Write down what is known.\n3. Combine both and check."


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


def distill(server, data, output, *more):
    arguments = ["distill", str(data), "--output", str(output), "--teacher", "m", "--base_url", server.url]
    return main([*arguments, "--no_progress", *map(str, more)])


# --- what is verified ---


def trace(answer="4", think="Two and two.", reference=None, **more):
    row = {"id": "t", "question": "2+2?", "think": think, "answer": answer, **more}
    return row if reference is None else {**row, "reference": reference}


@pytest.mark.parametrize(
    "row, reason",
    [
        (trace(), None),
        (trace(reference="4.0"), None),
        (trace("\\frac{1}{2}", reference="0.5"), None),
        (trace("2\\sqrt2", reference="\\sqrt{8}"), None),
        (trace("5", reference="4"), "its answer and the reference answer differ (5 and 4)"),
        (trace("50", reference="0.5"), "its answer and the reference answer differ (50 and 0.5)"),
        (trace(think="First \\boxed{3}, no: \\boxed{4}."), None),
        (trace(think="So \\boxed{4.0}."), None),
        (
            trace(think="So \\boxed{3}."),
            "the reasoning's last boxed answer and the final one differ (3 and 4)",
        ),
        (
            trace("5", think="So \\boxed{3}.", reference="4"),
            "its answer and the reference answer differ (5 and 4)",
        ),
    ],
)
def test_answers_are_compared_as_mathematics(row, reason):
    with Judge() as judge:
        assert mismatches([trace(), row], judge) == ({} if reason is None else {1: reason})


def test_a_trace_that_does_not_hold_is_dropped_unasked(tmp_path):
    traces = [trace(id="a"), trace("5", reference="4", id="b"), trace(think="\\boxed{3}", id="c")]
    skipped = [{"id": "z", "question": "?", "reason": "the solution states no final answer", "more": 1}]
    seen = []
    with TeacherServer(lambda n, m: Act(text=PLAN)) as server:
        teacher = EndpointTeacher("m", base_url=server.url)
        report = distill_plans(
            traces, teacher, skipped=skipped, on_verify=lambda done, total: seen.append((done, total))
        )
        assert len(server.bodies) == 1 and seen == [(2, 2)]
        assert len(distill_plans(traces, teacher, verify=False).rows) == 3
    assert [row["id"] for row in report.rows] == ["a"] and set(report.rows[0]) == {
        "id", "question", "plan", "think", "answer",
    }  # fmt: skip
    assert [(row["id"], row["plan"]) for row in report.dropped] == [("z", ""), ("b", ""), ("c", "")]
    assert report.summary()["traces"] == 4 and report.summary()["dropped_because"] == {
        "the solution states no final answer": 1,
        "its answer and the reference answer differ": 1,
        "the reasoning's last boxed answer and the final one differ": 1,
    }


# --- OpenThoughts ---


def thoughts(question, think, solution):
    reply = (
        f"<|begin_of_thought|>\n\n{think}\n\n<|end_of_thought|>\n\n"
        f"<|begin_of_solution|>\n\n{solution}\n\n<|end_of_solution|>"
    )
    turns = [{"from": "user", "value": question}, {"from": "assistant", "value": reply}]
    return {"system": "Think first.", "conversations": turns}


def test_a_record_of_openthoughts_from_row_to_training_row(tmp_path, capsys):
    rows = [
        thoughts("What is 6 times 7?", "Six sevens: 42.", "It is \\boxed{42}."),
        thoughts("Prove it.", "Hm.", "Done."),
        thoughts("What is half of 1?", "Halve it.", "It is $\\boxed{\\frac{1}{2}}$."),
        thoughts("What is 1+1?", "Write <answer> 2.", "\\boxed{2}"),
        thoughts("What is 10-3?", "So \\boxed{8}.", "\\boxed{7}"),
    ]
    data, output = tmp_path / "rows.jsonl", tmp_path / "plans.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))

    def act(number, messages):  # the second question's plan gives its answer away, in another spelling
        return Act(text="Halve it; the result is 0.5." if "half of 1" in messages[0]["content"] else PLAN)

    with TeacherServer(act) as server:
        assert distill(server, data, output) == 0
        assert len(server.bodies) == 3  # one plan, and one that was asked for twice
    [record] = read_jsonl(output)
    assert record == {
        "id": "0",
        "question": "What is 6 times 7?",
        "plan": PLAN,
        "think": "Six sevens: 42.",
        "answer": "42",
    }
    assert load_sft_rows(output) == [record]
    dropped = {row["id"]: row["reason"] for row in read_jsonl(tmp_path / "plans.dropped.jsonl")}
    assert dropped == {
        "1": "the solution states no final answer",
        "2": "it states the final answer ('result is 0.5')",
        "3": "the solution contains the tag <answer>",
        "4": "the reasoning's last boxed answer and the final one differ (8 and 7)",
    }
    report = json.loads((tmp_path / "plans.report.json").read_text())
    assert (report["traces"], report["records"], report["dropped"]) == (5, 1, 4)
    assert sum(report["dropped_because"].values()) == 4
    told = capsys.readouterr().out
    assert "1 of 5 solutions have a plan" in told
    assert all(f"dropped 1: {reason}" in told for reason in report["dropped_because"])


def test_contaminated_traces_are_dropped_where_asked(tmp_path, monkeypatch, capsys):
    question = "Every morning Aya goes for a walk of nine kilometers and stops at a coffee shop afterwards."
    (tmp_path / "maths").mkdir()
    aime = [{"id": k, "problem": f"{question} {k}?", "answer": "033"} for k in range(30)]
    (tmp_path / "maths" / "aime24.jsonl").write_text("".join(json.dumps(row) + "\n" for row in aime))
    monkeypatch.setenv("PTAGRPO_DATA", str(tmp_path))
    monkeypatch.setitem(__import__("sys").modules, "datasets", None)
    rows = [thoughts(question, "Think.", "\\boxed{1}"), thoughts("Other?", "Think.", "\\boxed{2}")]
    data = tmp_path / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with TeacherServer(lambda n, m: Act(text=PLAN)) as server:
        for mode, records in (("auto", 2), ("check", 2), ("drop", 1)):
            assert distill(server, data, tmp_path / f"{mode}.jsonl", "--contamination", mode) == 0
            assert len(list(read_jsonl(tmp_path / f"{mode}.jsonl"))) == records
            assert (tmp_path / f"{mode}.contamination.json").exists() == (mode != "auto")
    counts = json.loads((tmp_path / "drop.report.json").read_text())["dropped_because"]
    assert counts == {"it overlaps a benchmark": 1}
    assert "aime24: 1 training questions, touching 30 of its 30" in capsys.readouterr().out


# --- the real files ---


def test_the_five_openthoughts_like_rows(shared_data, tmp_path):
    pytest.importorskip("pyarrow", reason="reading parquet needs pyarrow")
    output = tmp_path / "plans.jsonl"

    def act(number, messages):
        return Act(text="Aim for 128." if "20_{}^{}!" in messages[0]["content"] else PLAN)

    with TeacherServer(act) as server:
        assert distill(server, shared_data / "traces" / "openthoughts_like_5.parquet", output) == 0
    records = list(read_jsonl(output))
    dropped = {row["id"]: row["reason"] for row in read_jsonl(tmp_path / "plans.dropped.jsonl")}
    assert {**dict.fromkeys(row["id"] for row in records), **dropped}.keys() == set("01234")
    assert dropped["1"] == "it states the final answer ('128')"
    # the trajectory's answer 1/2 is wrong: the data set's solution says 1/n
    assert dropped["4"] == "its answer and the reference answer differ (1/2 and \\frac{1}{n})"
    assert [row["answer"] for row in records if row["id"] == "3"] == ["109"]
    assert all(row["plan"] == PLAN and row["think"].strip() for row in records)


def test_eight_hundred_solutions_by_qwen(shared_data, tmp_path):
    """The data set's own verdicts, and ours without them, drop the same solutions but for one."""
    path = shared_data / "traces" / "math_cot_100x8.jsonl"
    rows, skipped = read_traces(path)
    assert (len(rows), len(skipped)) == (728, 72)
    everything, _ = read_traces(path, keep_wrong=True)
    with Judge() as judge:
        assert mismatches(rows, judge) == {}
        assert len(mismatches(everything, judge)) == 71
    with TeacherServer(lambda n, m: Act(text=PLAN)) as server:
        output = tmp_path / "plans.jsonl"
        assert distill(server, path, output, "--concurrency", 16) == 0
        assert len(server.bodies) == len({(row["question"], row["think"]) for row in rows})
    report = json.loads((tmp_path / "plans.report.json").read_text())
    assert report["traces"] == 800 and report["records"] == 728
    assert report["dropped_because"] == {"the data set marks the solution as wrong": 72}


def test_gsm8k_with_a_teacher_that_sometimes_gives_the_answer_away(shared_data, tmp_path):
    traces, skipped = read_traces(shared_data / "maths" / "gsm8k_train.jsonl", limit=200)
    assert len(traces) == 200 and not skipped
    answers = {row["question"]: row["answer"] for row in traces}

    def act(number, messages):
        question = messages[0]["content"].split("Problem:\n")[1].split("\n\nWorked solution:")[0]
        given_away = sum(map(ord, question)) % 4 == 0
        return Act(text=f"{PLAN} The result is {answers[question.strip()]}.0." if given_away else PLAN)

    with TeacherServer(act) as server:
        output = tmp_path / "plans.jsonl"
        arguments = ["--limit", 200, "--attempts", 1, "--concurrency", 16]
        assert distill(server, shared_data / "maths" / "gsm8k_train.jsonl", output, *arguments) == 0
    given_away = {row["id"] for row in traces if sum(map(ord, row["question"])) % 4 == 0}
    dropped = list(read_jsonl(tmp_path / "plans.dropped.jsonl"))
    assert {row["id"] for row in dropped} == given_away and 20 < len(given_away) < 80
    assert all(row["reason"].startswith("it states the final answer ('result is ") for row in dropped)
    assert len(list(read_jsonl(output))) == 200 - len(given_away)
