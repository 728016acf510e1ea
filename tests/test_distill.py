"""Distillation against a real local HTTP server: patience with every kind of failure, and nothing asked
twice."""

from __future__ import annotations

import builtins
import json
import logging
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from email.utils import formatdate

import pytest
from patience import patience
from teacher_server import Act, TeacherServer

from ptagrpo.distill import EndpointTeacher, ReplyCache, distill_plans, request_key, write_report
from ptagrpo.errors import ConfigError, DataError, TeacherError
from ptagrpo.io import read_jsonl

pytest.importorskip("openai", reason="the endpoint teacher needs the openai client")

KEY = "sk-a-secret-that-must-not-show-7391"


def make_traces(count):
    return [
        {"id": f"t{k}", "question": f"What is {k} and one?", "think": f"Count from {k}.", "answer": f"x{k}yz"}
        for k in range(count)
    ]


def make_teacher(server, **settings):
    settings = {"backoff": 0.01, "max_backoff": 0.05, "timeout": 30.0, **settings}
    return EndpointTeacher("test-model", base_url=server.url, **settings)


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


def test_rows_tokens_and_the_request_itself():
    traces = make_traces(5)
    with TeacherServer() as server:
        report = distill_plans(traces, make_teacher(server, temperature=0.3, max_tokens=77))
    assert [row["id"] for row in report.rows] == [t["id"] for t in traces] and not report.dropped
    assert report.rows[3] == {**traces[3], "plan": "1. Find the structure.\n2. Use it."}
    assert list(report.rows[0]) == ["id", "question", "plan", "think", "answer"]
    sent = sorted(server.bodies, key=lambda body: body["messages"][0]["content"])
    assert all(b["model"] == "test-model" and b["temperature"] == 0.3 and b["max_tokens"] == 77 for b in sent)
    for trace, body in zip(traces, sent, strict=True):
        [message] = body["messages"]
        assert trace["question"] in message["content"] and trace["think"] in message["content"]
    words = sum(len(body["messages"][0]["content"].split()) for body in sent)
    assert (report.prompt_tokens, report.completion_tokens, report.uncounted) == (words, 5 * 7, 0)
    assert server.authorizations == [f"Bearer {KEY}"] * 5
    assert (report.requests, report.cached, report.retries) == (5, 0, 0)


@pytest.mark.parametrize("concurrency", [1, 3, 8])
def test_the_server_sees_the_concurrency_bound_reached_and_kept(concurrency):
    with TeacherServer(lambda number, messages: Act(delay=0.15)) as server:
        distill_plans(make_traces(24), make_teacher(server, concurrency=concurrency))
    assert server.most_in_flight == concurrency and len(server.bodies) == 24


@pytest.mark.parametrize(
    "bad",
    [
        Act(status=500),
        Act(status=503),
        Act(status=408),
        Act(status=409),
        Act(status=429),
        Act(hang_up=True),
        Act(delay=2.0),
        Act(body="<html>gateway</html>", headers={"Content-Type": "text/html"}),
        Act(body='{"choices": [{"mess'),
        Act(body='{"choices": []}'),
        Act(body="[]"),
        Act(body="null"),
        Act(body='{"choices": [{"index": 0}]}'),
        Act(body='{"object": "chat.completion"}'),
        Act(body='{"choices": [{"index": 0, "finish_reason": "stop", "message": {"content": 7}}]}'),
    ],
    ids=lambda act: (act.body or ("hang up" if act.hang_up else "slow" if act.delay else str(act.status)))[
        :24
    ],
)
def test_a_failure_that_may_pass_is_tried_again(bad):
    failed = set()

    def act(number, messages):
        text = messages[0]["content"]
        with lock:
            if text in failed:
                return Act()
            failed.add(text)
        return bad

    lock = threading.Lock()
    with TeacherServer(act) as server:
        report = distill_plans(make_traces(4), make_teacher(server, timeout=1.0 if bad.delay else 30.0))
    assert len(report.rows) == 4 and report.retries == 4 and len(server.bodies) == 8 and report.requests == 4


@pytest.mark.parametrize("header", ["seconds", "date"])
def test_retry_after_is_waited_for_by_all_workers(header):
    def act(number, messages):
        if number > 0:
            return Act()
        value = "1" if header == "seconds" else formatdate(time.time() + 2, usegmt=True)
        return Act(status=429, headers={"Retry-After": value})

    with TeacherServer(act) as server:
        report = distill_plans(make_traces(3), make_teacher(server, concurrency=1))
    waited = server.times[1] - server.times[0]
    assert len(report.rows) == 3 and waited >= 0.95 and waited < patience(10)


def test_a_retry_after_beyond_the_limit_ends_the_run_with_advice():
    with TeacherServer(lambda n, m: Act(status=429, headers={"Retry-After": "7200"})) as server:
        with pytest.raises(TeacherError, match="come back in 7200 s, more than max_retry_after = 600 s"):
            distill_plans(make_traces(3), make_teacher(server))


def test_backoff_doubles_up_to_its_limit():
    with TeacherServer(lambda n, m: Act(status=500) if n < 5 else Act()) as server:
        distill_plans(make_traces(1), make_teacher(server, backoff=0.1, max_backoff=0.25, concurrency=1))
    gaps = [b - a for a, b in zip(server.times, server.times[1:], strict=False)]
    for gap, most in zip(gaps, [0.1, 0.2, 0.25, 0.25, 0.25], strict=True):
        assert most / 2 <= gap <= most + 1.5


def test_what_cannot_be_answered_is_reported_and_not_cached(tmp_path):
    """One question always fails, one is refused: both are reported; the next run asks for just these
    again."""

    def act(number, messages):
        text = messages[0]["content"]
        return Act(status=500) if "What is 1 " in text else Act(status=400) if "What is 2 " in text else Act()

    traces, cache = make_traces(6), tmp_path / "cache.jsonl"
    with TeacherServer(act) as server:
        report = distill_plans(traces, make_teacher(server, max_retries=2), cache=cache)
        assert [row["id"] for row in report.rows] == ["t0", "t3", "t4", "t5"]
        reasons = {row["id"]: row["reason"] for row in report.dropped}
        assert reasons["t1"].startswith("no reply: status 500") and "after 3 attempts" in reasons["t1"]
        assert "refused the request (400)" in reasons["t2"]
        assert report.failed == 2 and report.summary()["dropped_because"] == {"no reply": 2}
        before = len(server.bodies)
        server.act = lambda number, messages: Act()
        again = distill_plans(traces, make_teacher(server), cache=cache)
        assert len(again.rows) == 6 and again.cached == 4 and len(server.bodies) == before + 2


def test_an_endpoint_that_is_gone_ends_the_run(tmp_path):
    with TeacherServer(lambda n, m: Act() if n < 5 else Act(status=502)) as server:
        cache = tmp_path / "cache.jsonl"
        teacher = make_teacher(server, max_retries=1, max_failures=3, concurrency=1)
        with pytest.raises(
            TeacherError, match="3 requests in a row failed for good at http://127.0.0.1:.*502"
        ):
            distill_plans(make_traces(50), teacher, cache=cache)
        assert len(list(read_jsonl(cache))) == 5 and len(server.bodies) == 5 + 3 * 2


def test_nobody_listens():
    with TeacherServer() as server:
        url = server.url
    teacher = EndpointTeacher("m", base_url=url, max_retries=1, backoff=0.01, max_failures=1)
    with pytest.raises(TeacherError, match="no connection to http://127.0.0.1"):
        distill_plans(make_traces(3), teacher)


@pytest.mark.parametrize(
    "status, told",
    [(401, "the key was refused"), (403, "access was refused"), (404, "no such address or model")],
)
def test_a_refused_key_or_model_ends_the_run_at_once(status, told):
    act = Act(status=status, body=json.dumps({"error": {"message": f"bad key {KEY}", "code": None}}))
    with TeacherServer(lambda n, m: act) as server:
        with pytest.raises(TeacherError, match=told) as caught:
            distill_plans(make_traces(50), make_teacher(server, concurrency=2))
        assert len(server.bodies) <= 2
    assert KEY not in str(caught.value) and "***" in str(caught.value)


def test_the_key_is_in_no_file_log_or_repr(tmp_path, caplog, capsys):
    body = json.dumps({"error": {"message": f"worker with {KEY} broke"}})
    with (
        caplog.at_level(logging.DEBUG),
        TeacherServer(lambda n, m: Act(status=500, body=body) if n % 2 else Act()) as server,
    ):
        teacher = make_teacher(server, max_retries=1, concurrency=1)
        report = distill_plans(make_traces(6), teacher, cache=tmp_path / "c.jsonl")
        write_report(report, tmp_path / "plans.jsonl")
        server.act = lambda n, m: Act(status=400, body=body)
        report = distill_plans([{**t, "question": "other"} for t in make_traces(2)], teacher)
        write_report(report, tmp_path / "plans2.jsonl")
        assert "***" in report.dropped[0]["reason"]
    written = "".join(path.read_text() for path in tmp_path.iterdir())
    out = capsys.readouterr()
    for text in (written, caplog.text, repr(teacher), str(vars(report)), out.out, out.err):
        assert KEY not in text


# --- replies that are not usable plans ---


def test_a_refused_plan_is_asked_for_again_with_the_reason():
    def act(number, messages):
        if len(messages) > 1:
            return Act(text="Count upwards.")
        return Act(text="The answer is x0yz." if "What is 0 " in messages[0]["content"] else "Count.")

    with TeacherServer(act) as server:
        report = distill_plans(make_traces(2), make_teacher(server))
    assert [row["plan"] for row in report.rows] == ["Count upwards.", "Count."]
    [again] = [body["messages"] for body in server.bodies if len(body["messages"]) == 3]
    assert again[1] == {"role": "assistant", "content": "The answer is x0yz."}
    assert "states the final answer" in again[2]["content"]


@pytest.mark.parametrize(
    "act, reason",
    [
        (Act(text=" \n"), "it is empty"),
        (Act(text="<plan></plan>"), "it is empty"),
        (Act(text="<think>never ends"), "it is empty"),
        (Act(text="First <answer>"), "it contains the tag <answer>"),
        (Act(text="Count", finish_reason="length"), "it was cut off at the token limit"),
        (Act(text="word " * 201), "it is too long (201 words, more than 200)"),
        (Act(text="It must be x0yz in the end."), "it states the final answer ('x0yz')"),
        (Act(text="So \\boxed{?}"), "it states the final answer ('\\boxed')"),
    ],
)
def test_a_plan_that_stays_unusable_is_dropped_with_its_reason(act, reason, tmp_path):
    with TeacherServer(lambda n, m: act) as server:
        report = distill_plans(make_traces(1), make_teacher(server), attempts=2)
        assert len(server.bodies) == 2
    [row] = report.dropped
    assert row == {"id": "t0", "question": "What is 0 and one?", "reason": reason, "plan": act.text}
    paths = write_report(report, tmp_path / "out.jsonl")
    assert list(read_jsonl(paths["dropped"])) == [row] and paths["output"].read_text() == ""
    counts = json.loads(paths["report"].read_text())
    assert counts["traces"] == 1 and counts["records"] == 0 and sum(counts["dropped_because"].values()) == 1


def test_a_solution_with_a_tag_in_it_is_dropped_unasked():
    traces = [{**make_traces(1)[0], "think": "a </think> b"}]
    with TeacherServer() as server:
        report = distill_plans(traces, make_teacher(server))
    assert not server.bodies and report.dropped[0]["reason"] == "the solution contains the tag </think>"


def test_a_trace_given_twice_is_asked_for_once():
    traces = make_traces(2) + [{**make_traces(1)[0], "id": "copy"}]
    traces.append({**traces[0], "id": "other answer", "answer": "zzz"})  # the same request, another answer
    with TeacherServer(lambda n, m: Act(text="Think about zzz.")) as server:
        report = distill_plans(traces, make_teacher(server), attempts=1)
    assert len(server.bodies) == 2 and [row["id"] for row in report.rows] == ["t0", "t1", "copy"]
    assert [row["id"] for row in report.dropped] == ["other answer"]


def test_an_endpoint_that_counts_no_tokens():
    with TeacherServer(lambda n, m: Act(usage=False)) as server:
        report = distill_plans(make_traces(2), make_teacher(server))
    assert (len(report.rows), report.prompt_tokens, report.uncounted) == (2, 0, 2)


# --- the cache ---


def test_finished_work_is_never_redone_and_settings_change_the_key(tmp_path):
    traces, cache = make_traces(4), tmp_path / "deep" / "cache.jsonl"
    with TeacherServer() as server:
        first = distill_plans(traces[:3], make_teacher(server), cache=cache)
        second = distill_plans(traces, make_teacher(server), cache=cache)
        assert len(server.bodies) == 4 and (second.cached, second.requests) == (3, 1)
        assert second.rows[:3] == first.rows
        distill_plans(traces, make_teacher(server, temperature=0.1), cache=cache)
        assert len(server.bodies) == 8
    entry = next(read_jsonl(cache))
    assert set(entry) == {"key", "model", "text", "finish_reason", "prompt_tokens", "completion_tokens"}


def test_keys_depend_on_all_that_decides_a_reply_and_on_nothing_else():
    messages, params = [{"role": "user", "content": "x"}], {"temperature": 0.7, "max_tokens": 5}
    key = request_key(messages, "m", params)
    assert key == request_key(messages, "m", {"max_tokens": 5, "temperature": 0.7}) and len(key) == 64
    others = [
        request_key([{"role": "user", "content": "y"}], "m", params),
        request_key(messages, "n", params),
        request_key(messages, "m", {**params, "max_tokens": 6}),
    ]
    assert len({key, *others}) == 4


def test_a_line_cut_by_a_kill_is_dropped_and_a_damaged_one_refused(tmp_path):
    path = tmp_path / "cache.jsonl"
    with TeacherServer() as server:
        distill_plans(make_traces(3), make_teacher(server), cache=path)
        whole = path.read_bytes()
        path.write_bytes(whole[:-20])
        report = distill_plans(make_traces(3), make_teacher(server), cache=path)
        assert (report.cached, report.requests) == (2, 1)
    assert len(list(read_jsonl(path))) == 3
    path.write_bytes(b'{"key": \n' + whole)
    with pytest.raises(DataError, match="cache.jsonl:1: "):
        ReplyCache(path)
    path.write_text('{"question": "x"}\n')
    with pytest.raises(DataError, match="entry 1 of the cache lacks 'key'"):
        ReplyCache(path)


def test_two_processes_do_not_share_a_cache(tmp_path):
    pytest.importorskip("fcntl", reason="no advisory locks on this platform")
    with ReplyCache(tmp_path / "c.jsonl"):
        code = "import sys; from ptagrpo.distill import ReplyCache; ReplyCache(sys.argv[1])"
        done = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path / "c.jsonl")], capture_output=True, text=True
        )
    assert done.returncode == 1 and "another process is writing this cache" in done.stderr
    ReplyCache(tmp_path / "c.jsonl").close()


SCRIPT = """
import json, sys
from ptagrpo.distill import EndpointTeacher, distill_plans, write_report
url, folder, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
traces = [{"id": str(k), "question": f"What is {k} and one?", "think": f"Count from {k}.", "answer": "xyz"}
          for k in range(count)]
teacher = EndpointTeacher("test-model", base_url=url, concurrency=4, backoff=0.01)
write_report(distill_plans(traces, teacher, cache=folder + "/cache.jsonl"), folder + "/plans.jsonl")
"""


def test_kill_9_in_the_middle_then_the_same_command(tmp_path):
    """Killed again and again, the run still asks for each question once, but for those in flight at a
    kill."""
    count, kills, concurrency = 60, 3, 4
    cache, plans = tmp_path / "cache.jsonl", tmp_path / "plans.jsonl"
    script = tmp_path / "run.py"
    script.write_text(textwrap.dedent(SCRIPT))
    command = [sys.executable, str(script)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with TeacherServer(lambda n, m: Act(delay=0.05)) as server:
        arguments = [server.url, str(tmp_path), str(count)]
        for kill in range(kills):
            goal = server.answered + 12
            process = subprocess.Popen([*command, *arguments], env=environment)
            while server.answered < goal and process.poll() is None:
                time.sleep(0.002)
            process.send_signal(signal.SIGKILL)
            assert process.wait() == -signal.SIGKILL and not plans.exists(), f"kill {kill} came too late"
            finished = cache.read_bytes().count(b"\n")
            assert finished >= goal - concurrency * (kill + 1)
        subprocess.run([*command, *arguments], env=environment, check=True)
        assert count <= len(server.bodies) <= count + kills * concurrency
    rows = list(read_jsonl(plans))
    assert [row["id"] for row in rows] == [str(k) for k in range(count)]
    keys = [row["key"] for row in read_jsonl(cache)]
    assert len(keys) == len(set(keys)) == count


def test_ctrl_c_returns_at_once_with_finished_replies_saved(tmp_path):
    script = tmp_path / "run.py"
    script.write_text(textwrap.dedent(SCRIPT))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with TeacherServer(lambda n, m: Act(delay=30 if n >= 8 else 0.02)) as server:
        process = subprocess.Popen(
            [sys.executable, str(script), server.url, str(tmp_path), "40"],
            env=environment,
            stderr=subprocess.PIPE,
        )
        while len(server.bodies) < 12 and process.poll() is None:
            time.sleep(0.01)
        time.sleep(0.1)
        begun = time.monotonic()
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
        assert time.monotonic() - begun < patience(4.0)
        assert (tmp_path / "cache.jsonl").read_bytes().count(b"\n") == 8


def test_a_full_disk_stops_the_run_with_the_error(tmp_path, monkeypatch):
    def no_space(path, rows):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr("ptagrpo.distill.cache.append_jsonl", no_space)
    with TeacherServer() as server, pytest.raises(OSError, match="No space left"):
        distill_plans(make_traces(30), make_teacher(server, concurrency=2), cache=tmp_path / "c.jsonl")
    assert len(server.bodies) < 30


# --- settings ---


def test_settings_are_checked(monkeypatch):
    for settings, told in [
        ({"concurrency": 0}, "concurrency: expected at least 1, got 0"),
        ({"timeout": 0}, "timeout: expected seconds above 0"),
        ({"max_retries": -1}, "max_retries: expected at least 0"),
    ]:
        with pytest.raises(ConfigError, match=told):
            EndpointTeacher("m", base_url="http://127.0.0.1:1/v1", **settings)
    monkeypatch.delenv("OPENAI_API_KEY")
    with pytest.raises(ConfigError, match="set the environment variable OPENAI_API_KEY"):
        EndpointTeacher("m")
    EndpointTeacher("m", base_url="http://127.0.0.1:1/v1")


def test_without_the_client_the_error_says_what_to_install(monkeypatch):
    real = builtins.__import__

    def refuse(name, *arguments, **named):
        if name == "openai":
            raise ImportError("no openai")
        return real(name, *arguments, **named)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(ConfigError, match=r"pip install 'ptagrpo\[teacher\]'"):
        EndpointTeacher("m", base_url="http://127.0.0.1:1/v1")
