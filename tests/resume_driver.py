"""A process that trains in children of its own and lets them be killed. Run by the tests of resuming, not by
pytest.

    python resume_driver.py

Reads one JSON command a line, forks a child that runs it, and answers with one JSON line about how the child
ended:

    {"trainer": "sft" | "grpo" | "pta", "dir": folder, "options": {...},
     "signal": number, "event": callback event, "step": global_step, "after": seconds}
    -> {"status": exit code or -signal, "start": [...], "saved": [...], "error": text}

With "event" the child sends itself the signal at that event of that step; with "after" the parent kills it
so long after it began. "start" holds the step that training began at, "saved" the checkpoints reported as
saved. Forking is safe because nothing here has started a thread yet (asserted); it saves the import of the
package 700 times over.
"""

import json
import os
import select
import signal
import sys
import time
import traceback
import warnings

os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", TOKENIZERS_PARALLELISM="false")
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import training_toys  # noqa: E402

BASE = training_toys.policy()


class Reporter:
    """Tells the parent what the run acknowledges, and sends the signal at the chosen event."""

    def __init__(self, pipe, command):
        self.pipe, self.command = pipe, command

    def report(self, **message):
        os.write(self.pipe, (json.dumps(message) + "\n").encode())

    def on_train_begin(self, args, state, control, **kwargs):
        self.report(start=state.global_step)

    def on_save(self, args, state, control, checkpoint, **kwargs):
        self.report(saved=state.global_step)

    def on_substep_end(self, args, state, control, **kwargs):
        self.strike("on_substep_end", state)

    def on_step_end(self, args, state, control, **kwargs):
        self.strike("on_step_end", state)

    def strike(self, event, state):
        if self.command.get("event") == event and self.command["step"] == state.global_step:
            os.kill(os.getpid(), self.command["signal"])


def child(command, pipe):
    """Train to the end, or to wherever the signal comes."""
    reporter = Reporter(pipe, command)
    try:
        warnings.simplefilter("error", RuntimeWarning)  # a damaged checkpoint would warn
        trainer = training_toys.trainer(
            command["trainer"], command["dir"], BASE, [reporter], **command.get("options", {})
        )
        trainer.train(resume_from_checkpoint="auto")
    except SystemExit as error:
        os._exit(error.code)
    except BaseException:
        reporter.report(error=traceback.format_exc())
        os._exit(1)
    os._exit(0)


def run(command):
    """Fork, wait (and kill), collect what the child said."""
    assert len(os.listdir("/proc/self/task")) == 1, "forking with threads is not safe"
    reader, writer = os.pipe()
    began = time.monotonic()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        child(command, writer)
    os.close(writer)
    said, killed = b"", False
    while True:
        left = None
        if "after" in command and not killed:
            left = max(0.0, began + command["after"] - time.monotonic())
        if not select.select([reader], [], [], left)[0]:
            os.kill(pid, command["signal"])
            killed = True
            continue
        block = os.read(reader, 65536)
        if not block:
            break
        said += block
    os.close(reader)
    _, status = os.waitpid(pid, 0)
    answer = {"status": os.waitstatus_to_exitcode(status), "start": [], "saved": [], "error": ""}
    answer["seconds"] = time.monotonic() - began
    for line in said.splitlines():
        for key, value in json.loads(line).items():
            answer[key] = answer[key] + [value] if key != "error" else value
    return answer


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    for line in sys.stdin:
        print(json.dumps(run(json.loads(line))), flush=True)
