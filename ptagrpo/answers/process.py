"""One worker process and the conversation with it: start, ask with a time limit, kill, start again."""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from ..errors import GradingError
from .normalize import MAX_ANSWER

# Characters of an answer. A request (12 bytes a character at worst) then fits the pipe: asking never blocks.
MAX_TEXT = MAX_ANSWER
START_SECONDS = 120.0


class WorkerTimeout(Exception):
    """No reply within the time limit; the worker has been killed."""


class WorkerDied(Exception):
    """The worker ended in the middle of an item; the message says how."""


class WorkerProcess:
    """A `python -m ptagrpo.answers.worker`, started at first use and restarted whenever it is gone.

    Args:
        timeout: seconds of wall time an item may take.
        memory_limit_mb: MiB the worker may grow after its start; 0 for no limit.
        start_timeout: seconds the worker may take to import its libraries.
    """

    def __init__(self, timeout: float, memory_limit_mb: int = 2048, start_timeout: float = START_SECONDS):
        self.timeout = timeout
        self.memory_limit_mb = memory_limit_mb
        self.start_timeout = start_timeout
        self.starts = 0
        self.ready = False  # whether the present worker has said that it listens
        self._process: subprocess.Popen[bytes] | None = None
        self._buffer = b""
        self._errors: tempfile._TemporaryFileWrapper | None = None

    @property
    def pid(self) -> int | None:
        """Process id of the running worker, or None."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    def start(self) -> None:
        """Start the worker unless it runs. One that is killed while it starts is started once more.

        Raises:
            GradingError: it cannot be started, or does not get ready in time; with what it wrote to stderr.
        """
        if self.pid is not None and self.ready:
            return
        try:
            self._start_once()
        except WorkerDied:
            try:
                self._start_once()
            except WorkerDied as error:
                raise GradingError(f"the answer-checking worker did not start, twice: {error}") from error

    def _start_once(self) -> None:
        self.close()
        root = Path(__file__).resolve().parents[2]
        environment = dict(os.environ)
        environment["PYTHONPATH"] = os.pathsep.join(
            dict.fromkeys([*(os.path.abspath(entry) for entry in sys.path if entry), str(root)])
        )
        environment.setdefault("OPENBLAS_NUM_THREADS", "1")
        environment.setdefault("OMP_NUM_THREADS", "1")
        command = [
            sys.executable, "-m", "ptagrpo.answers.worker",
            "--memory-limit-mb", str(self.memory_limit_mb),
            "--cpu-limit", str(2 * self.timeout + 10),
            "--parent", str(os.getpid()),
        ]  # fmt: skip
        self._errors = tempfile.TemporaryFile()
        try:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, cwd=root,
                env=environment, bufsize=0,
            )  # fmt: skip
        except OSError as error:
            raise GradingError(
                f"cannot start the answer-checking worker {' '.join(command)}: {error}"
            ) from error
        self.starts += 1
        try:
            hello = json.loads(self._read_line(self.start_timeout))
        except (WorkerTimeout, WorkerDied, ValueError) as error:
            message = self._stderr_tail()
            killed = isinstance(error, WorkerDied) and (self._process.poll() or 0) < 0
            self.close()
            if killed:
                raise
            raise GradingError(
                f"the answer-checking worker did not start: {error}\n{message}".rstrip()
            ) from error
        except BaseException:  # Ctrl-C
            self.close()
            raise
        if "fatal" in hello:
            self.close()
            raise GradingError(f"the answer-checking worker did not start: {hello['fatal']}")
        self.ready = True

    def ask(self, prediction: str, gold: str) -> dict[str, str]:
        """Verdict on one pair as the worker's reply, `{"status", "detail"}`.

        Raises:
            WorkerTimeout: no reply within the time limit. The worker is killed.
            WorkerDied: it ended before it replied.
            GradingError: it cannot be started.
        """
        if len(prediction) > MAX_TEXT or len(gold) > MAX_TEXT:
            raise ValueError(f"an answer of more than {MAX_TEXT} characters is not sent to the worker")
        self.start()
        process = self._process
        assert process is not None and process.stdin is not None
        request = json.dumps({"prediction": prediction, "gold": gold}).encode("ascii") + b"\n"
        try:
            process.stdin.write(request)
            return json.loads(self._read_line(self.timeout))
        except (BrokenPipeError, ConnectionResetError) as error:
            raise WorkerDied(self._how_it_ended()) from error
        except BaseException:  # also Ctrl-C: a reply still to come would be taken for the next item's
            self.close()
            raise

    def _read_line(self, seconds: float) -> bytes:
        process = self._process
        assert process is not None and process.stdout is not None
        deadline = time.monotonic() + seconds
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            while b"\n" not in self._buffer:
                left = deadline - time.monotonic()
                if left <= 0 or not selector.select(left):
                    raise WorkerTimeout(f"no reply within {seconds:g} s")
                data = os.read(process.stdout.fileno(), 1 << 16)
                if not data:
                    raise WorkerDied(self._how_it_ended())
                self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line

    def _how_it_ended(self) -> str:
        assert self._process is not None
        try:
            code = self._process.wait(5)
        except subprocess.TimeoutExpired:
            return "the worker closed its output"
        return (
            f"the worker was ended by signal {-code}"
            if code < 0
            else f"the worker ended with exit status {code}"
        )

    def _stderr_tail(self) -> str:
        if self._errors is None:
            return ""
        self._errors.seek(0)
        return self._errors.read()[-2000:].decode("utf-8", "replace")

    def kill(self) -> None:
        """Kill the worker from another thread than the one that asks it; that one then gets `WorkerDied`."""
        process = self._process
        if process is not None:
            process.kill()

    def close(self) -> None:
        """Kill the worker, if there is one, and wait until it is gone. May be called again."""
        process, self._process, self._buffer = self._process, None, b""
        self.ready = False
        if process is not None:
            process.kill()
            process.wait()
            for stream in (process.stdin, process.stdout):
                if stream is not None:
                    stream.close()
        if self._errors is not None:
            self._errors.close()
            self._errors = None
