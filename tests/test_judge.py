"""Judge: statuses, time limits, workers that hang, die, eat memory or lose their parent."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from patience import patience

from ptagrpo.answers import STATUSES, Judge, Verdict
from ptagrpo.answers.process import MAX_TEXT, WorkerProcess
from ptagrpo.answers.worker import grade
from ptagrpo.errors import GradingError

pytest.importorskip("math_verify", reason="the symbolic engine is not installed")

HANGS = r"9^{9^{9^{9}}}"  # nobody can write this number down
ALGEBRA = (r"\boxed{\sqrt{32}}", r"4\sqrt{2}")


def alive(pid):
    """Whether a process runs; one that is dead and waits to be collected does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


def wait_until(condition, seconds=20.0):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.02)
    return False


@pytest.fixture(scope="module")
def judge():
    with Judge(timeout=20.0) as shared:
        yield shared


def test_each_status(judge):
    verdicts = judge.judge(
        [
            (r"\boxed{0.5}", r"\frac12"),
            (r"\boxed{0.6}", r"\frac12"),
            ("I do not know.", "3"),
            (r"\boxed{3}", "  "),
            ALGEBRA,
            (r"\boxed{\sqrt{33}}", r"4\sqrt{2}"),
            (r"\boxed{2+}", "x+1"),
            (r"\boxed{x+1}", r"\frac{x+}{2"),
        ]
    )
    assert [verdict.status for verdict in verdicts] == [
        "correct", "wrong", "no_answer", "error", "correct", "wrong", "wrong", "error",
    ]  # fmt: skip
    assert verdicts[0] == Verdict("correct", "0.5", verdicts[0].detail)
    assert verdicts[2].extracted is None
    assert "reference answer" in verdicts[7].detail
    assert all(verdict.status in STATUSES for verdict in verdicts)


def test_exact_and_plain_numbers_start_no_worker():
    with Judge() as judge:
        verdicts = judge.judge(
            [("<answer> New  York </answer>", "new york"), (r"\boxed{07}", "7")], kind="exact"
        )
        assert [verdict.status for verdict in verdicts] == ["correct", "wrong"]
        assert judge.judge([(r"\boxed{7}", "7.0"), (r"\boxed{east}", r"\text{East}")])[0].correct
        assert judge.worker_pids == []


def test_a_hanging_item_times_out_and_the_others_get_their_verdicts():
    with Judge(timeout=1.0) as judge:
        judge.judge([ALGEBRA])
        first = judge.worker_pids
        start = time.monotonic()
        verdicts = judge.judge(
            [
                (rf"\boxed{{{HANGS}}}", "1"),
                ALGEBRA,
                (r"\boxed{\sqrt{18}}", r"3\sqrt2"),
                (rf"\boxed{{{HANGS}}}", "1"),
            ]
        )
        assert [verdict.status for verdict in verdicts] == ["timeout", "correct", "correct", "timeout"]
        assert time.monotonic() - start < patience(20)
        assert "1 s" in verdicts[0].detail
        assert not alive(first[0])
        assert judge._workers[0].starts == 2  # the repeated item was not computed twice


def test_a_reference_answer_that_hangs_is_a_timeout_too():
    with Judge(timeout=0.7) as judge:
        assert judge.judge([(r"\boxed{\sqrt2}", HANGS)])[0].status == "timeout"


def test_worker_killed_between_items_is_replaced():
    with Judge() as judge:
        judge.judge([ALGEBRA])
        (pid,) = judge.worker_pids
        os.kill(pid, signal.SIGKILL)
        assert wait_until(lambda: not alive(pid))
        assert judge.judge([(r"\boxed{\sqrt{8}}", r"2\sqrt2")])[0].status == "correct"
        assert judge.worker_pids != [pid]


def test_worker_killed_in_the_middle_of_an_item_is_tried_once_more():
    """Killed once: the item gets its verdict from a second worker, here a time-out. Killed twice: an
    error."""
    with Judge(timeout=30.0) as judge:
        judge.judge([ALGEBRA])
        worker, killed = judge._workers[0], []

        def kill_two():
            for _ in range(2):
                fresh = wait_until(lambda: worker.ready and worker.pid not in [None, *killed], 100)
                pid = worker.pid
                assert fresh and pid is not None
                time.sleep(0.3)
                os.kill(pid, signal.SIGKILL)
                killed.append(pid)

        thread = threading.Thread(target=kill_two)
        thread.start()
        (verdict,) = judge.judge([(rf"\boxed{{{HANGS}}}", "1")])
        thread.join()
        assert len(killed) == 2
        assert verdict.status == "error"
        assert "signal 9" in verdict.detail
        assert judge.judge([(r"\boxed{\sqrt{8}}", r"2\sqrt2")])[0].status == "correct"


LIMITED = """
from ptagrpo.answers.worker import limit_memory
import sys
assert limit_memory(64) is True
small = bytearray(16 << 20)
try:
    bytearray(256 << 20)
except MemoryError:
    sys.exit(7)
"""


def test_a_worker_cannot_eat_the_machine():
    if "asan" in os.environ.get("LD_PRELOAD", ""):
        pytest.skip("an address sanitizer reserves terabytes: no address-space limit is set")
    root = Path(__file__).resolve().parent.parent
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(root), *filter(None, sys.path)])}
    assert subprocess.run([sys.executable, "-c", LIMITED], env=environment).returncode == 7


def test_running_out_of_memory_or_stack_is_an_error_and_not_a_wrong_answer():
    def engine(prediction, gold):
        raise {"x": MemoryError, "y": RecursionError, "z": ZeroDivisionError}[prediction]

    replies = {name: grade(name, r"\sqrt{2}", engine) for name in "xyz"}
    assert {reply["status"] for reply in replies.values()} == {"error"}
    assert "memory" in replies["x"]["detail"] and "nested" in replies["y"]["detail"]
    assert "ZeroDivisionError" in replies["z"]["detail"]


def test_worker_killed_while_it_starts_is_started_again():
    worker = WorkerProcess(timeout=20.0)
    killer = threading.Thread(
        target=lambda: (wait_until(lambda: worker.pid), os.kill(worker.pid, signal.SIGKILL))
    )
    killer.start()
    reply = worker.ask(r"\sqrt{8}", r"2\sqrt{2}")
    killer.join()
    worker.close()
    assert reply["status"] == "correct" and worker.starts == 2


def test_closed_judges_leave_no_process_and_may_be_used_again():
    judge = Judge()
    judge.judge([ALGEBRA])
    (pid,) = judge.worker_pids
    judge.close()
    judge.close()
    assert not alive(pid) and judge.worker_pids == []
    assert judge.judge([(r"\boxed{\sqrt{50}}", r"5\sqrt2")])[0].correct
    judge.close()


PARENT = """
import sys, time
from ptagrpo.answers import Judge
judge = Judge(timeout=600.0)
judge.judge([(r"\\boxed{\\sqrt{32}}", r"4\\sqrt{2}")])
print(judge.worker_pids[0], flush=True)
if sys.argv[1] == "busy":
    judge.judge([(r"\\boxed{HANGS}", "1")])
time.sleep(600)
""".replace("HANGS", HANGS)


@pytest.mark.parametrize("state", ["idle", "busy"])
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc to look at processes")
def test_a_killed_parent_leaves_no_worker(state):
    root = Path(__file__).resolve().parent.parent
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(root), *filter(None, sys.path)])}
    parent = subprocess.Popen([sys.executable, "-c", PARENT, state], stdout=subprocess.PIPE, env=environment)
    try:
        worker = int(parent.stdout.readline())
        assert alive(worker)
        time.sleep(0.5 if state == "busy" else 0.0)
    finally:
        parent.kill()
        parent.wait()
        parent.stdout.close()
    assert wait_until(lambda: not alive(worker), 10), "the worker outlived its parent"


def test_worker_ends_when_its_input_ends():
    process = subprocess.Popen(
        [sys.executable, "-m", "ptagrpo.answers.worker"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        cwd=Path(__file__).resolve().parent.parent,
    )  # fmt: skip
    assert b"ready" in process.stdout.readline()
    out, _ = process.communicate(timeout=20)
    assert process.returncode == 0 and out == b""


def test_several_workers_and_several_threads_agree_with_one():
    items = [(rf"\boxed{{\sqrt{{{4 * n}}}}}", rf"2\sqrt{{{n + (n % 3 == 0)}}}") for n in range(2, 40)]
    with Judge(num_workers=2) as two, Judge() as one:
        expected = [verdict.status for verdict in one.judge(items)]
        assert [verdict.status for verdict in two.judge(items)] == expected
        assert len(two.worker_pids) == 2
        assert set(expected) == {"correct", "wrong"}
        results = {}
        threads = [
            threading.Thread(target=lambda i=i: results.update({i: [v.status for v in one.judge(items)]}))
            for i in range(3)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert all(result == expected for result in results.values()) and len(results) == 3


def test_many_repeated_items_are_asked_once(judge):
    start = time.monotonic()
    verdicts = judge.judge(
        [(rf"text {n} \boxed{{\frac{{\sqrt{{12}}}}{{2}}}}", r"\sqrt{3}") for n in range(2000)]
    )
    assert all(verdict.correct for verdict in verdicts)
    assert time.monotonic() - start < patience(10)


def test_very_long_and_deeply_nested_answers_get_a_verdict(judge):
    long = "1+" * MAX_TEXT + "1"
    nested = "(" * 900 + "1" + ")" * 900
    verdicts = judge.judge(
        [(rf"\boxed{{{long}}}", "5"), (rf"\boxed{{{nested}}}", "x"), (rf"\boxed{{{long}}}", long)]
    )
    assert verdicts[0].status == "wrong" and str(MAX_TEXT) in verdicts[0].detail
    assert verdicts[1].status in ("wrong", "error")
    assert verdicts[2].status == "correct"


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="timeout"):
        Judge(timeout=0)
    with pytest.raises(ValueError, match="num_workers"):
        Judge(num_workers=0)
    with pytest.raises(ValueError, match="'algebra'"):
        Judge().judge([("1", "1")], kind="algebra")
    with pytest.raises(TypeError, match="reference answer of item 1 is int"):
        Judge().judge([("1", "1"), ("1", 1)])


def test_a_worker_that_cannot_start_is_a_clear_error(monkeypatch, tmp_path):
    broken = tmp_path / "math_verify.py"
    broken.write_text("raise ImportError('no such luck')\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    with Judge() as judge, pytest.raises(GradingError, match="math-verify cannot be imported.*no such luck"):
        judge.judge([ALGEBRA])
    worker = WorkerProcess(timeout=1.0, start_timeout=30.0)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "no-python"))
    with pytest.raises(GradingError, match="cannot start"):
        worker.start()


@pytest.mark.parametrize("num_workers", [1, 2])
def test_ctrl_c_comes_through_at_once_and_the_judge_goes_on(num_workers):
    with Judge(timeout=60.0, num_workers=num_workers) as judge:
        judge.judge([(rf"\boxed{{\sqrt{{{n}}}}}", "1") for n in (2, 3)])
        timer = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT))
        timer.start()
        start = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            judge.judge([(rf"\boxed{{{HANGS}}}", str(n)) for n in range(4)])
        assert time.monotonic() - start < patience(5.0)
        assert judge.judge([ALGEBRA])[0].status == "correct"
