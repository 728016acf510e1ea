"""A run is never lost: killed anywhere, it goes on, and ends in the same bytes as the run that never was.

Every kill hits a real process (a forked child of `resume_driver.py`); no test cleans anything up between
them.
"""

from __future__ import annotations

import json
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import training_toys

from ptagrpo import build_info

KINDS = ("sft", "grpo", "pta")
# A sanitizer build looks for errors of memory and is many times slower: some of the steps will do there.
STRIDE, KILLS = (9, 20) if build_info()["sanitize"] else (1, 200)
DRIVER = Path(__file__).with_name("resume_driver.py")


class Driver:
    """A process that takes commands; see `resume_driver.py`."""

    def __init__(self):
        self.process = subprocess.Popen(
            [sys.executable, str(DRIVER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def __call__(self, kind, folder, **command):
        line = json.dumps({"trainer": kind, "dir": str(folder), **command})
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        assert not answer["error"], answer["error"]
        return answer

    def close(self):
        self.process.stdin.close()
        self.process.wait(timeout=30)
        self.process.stdout.close()


@pytest.fixture(scope="module")
def driver():
    running = Driver()
    yield running
    running.close()


@pytest.fixture(scope="module")
def scratch():
    """A folder in memory where there is one: the tests fsync thousands of files."""
    root = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(dir=root) as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def uninterrupted(driver, scratch):
    """Digests of each trainer's run that nothing interrupts."""
    results = {}
    for kind in KINDS:
        assert driver(kind, scratch / f"whole-{kind}")["status"] == 0
        results[kind] = training_toys.result(scratch / f"whole-{kind}")
    return results


def clean(folder):
    """Nothing lies about that a person would have to remove."""
    return not [entry.name for entry in Path(folder).iterdir() if entry.name.startswith((".tmp", ".trash"))]


@pytest.mark.parametrize("event", ["on_substep_end", "on_step_end"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["SIGTERM", "SIGKILL"])
@pytest.mark.parametrize("kind", KINDS)
def test_stopped_at_every_step_in_turn(driver, scratch, uninterrupted, kind, number, event):
    """`on_substep_end` is inside gradient accumulation. SIGTERM loses no completed step, SIGKILL none
    that was saved.
    """
    first, last = (0, training_toys.STEPS - 1) if event == "on_substep_end" else (1, training_toys.STEPS)
    for step in range(first, last + 1, STRIDE):
        folder = scratch / "one"
        stopped = driver(kind, folder, event=event, step=step, signal=int(number))
        if number == signal.SIGTERM:
            assert stopped["status"] == 128 + signal.SIGTERM
            assert stopped["saved"][-1] == step
        else:
            assert stopped["status"] == -signal.SIGKILL
        resumed = driver(kind, folder)
        assert resumed["status"] == 0
        assert resumed["start"][0] == (stopped["saved"][-1] if stopped["saved"] else 0)
        assert training_toys.result(folder) == uninterrupted[kind], f"stopped at step {step}"
        assert clean(folder)
        shutil.rmtree(folder)


def test_two_hundred_kills_at_random_instants(driver, scratch, uninterrupted):
    """Saving at every step and keeping two checkpoints, most kills fall into writing or rotating."""
    chance = random.Random(7)
    options = {"save_steps": 1}
    folder, kills, runs, saved = scratch / "random-0", 0, 0, 0
    kind = KINDS[0]
    longest = {k: driver(k, scratch / f"timed-{k}", options=options)["seconds"] for k in KINDS}
    while kills < KILLS:
        answer = driver(
            kind,
            folder,
            options=options,
            signal=int(signal.SIGKILL),
            after=chance.uniform(0.0, 0.5) * longest[kind],
        )
        if answer["start"]:
            assert answer["start"][0] >= saved, "an acknowledged checkpoint was lost"
        saved = max([saved, *answer["saved"]])
        if answer["status"] == 0:
            assert training_toys.result(folder) == uninterrupted[kind]
            assert clean(folder)
            shutil.rmtree(folder)
            runs += 1
            kind, folder, saved = KINDS[runs % 3], scratch / f"random-{runs}", 0
        else:
            assert answer["status"] == -signal.SIGKILL
            kills += 1
    assert runs >= 3 or KILLS < 200
    assert driver(kind, folder, options=options)["status"] == 0
    assert training_toys.result(folder) == uninterrupted[kind]
    assert clean(folder)
