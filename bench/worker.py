"""One side of a comparison in a process of its own, asked over a pipe to do one timed piece of work at a time.

Two thread pools that spin in one process halve each other, and a library keeps its settings to itself in a process of
its own. A worker waits in a blocking read while another side runs.

    python bench/worker.py bench.sides.NAME      reads a JSON line a call, answers with a JSON line

The module has a class `Side`; the first call makes it, every later call names one of its methods.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import threading
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


class SideError(RuntimeError):
    """A side failed; the message says which, where, and ends with its last words."""


class SideAbsent(SideError):
    """A side cannot run here because a library it needs is not installed."""


class Worker:
    """A running side. Calls are methods of its `Side`: `worker.call("step")`.

    Args:
        module: name of the side's module below bench.sides.
        options: arguments of its `Side`.
        environment: variables that differ from ours.

    Raises:
        SideAbsent: a library is missing. SideError: the side could not be made.
    """

    def __init__(self, module: str, options: Mapping[str, Any], environment: Mapping[str, str] | None = None):
        self.name = module
        self._process = subprocess.Popen(
            [sys.executable, __file__, f"bench.sides.{module}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **(environment or {})},
        )
        self._last_words: list[str] = []
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()
        try:
            self.call("__init__", **options)
        except SideError:
            self.close()
            raise

    @property
    def pid(self) -> int:
        return self._process.pid

    def call(self, method: str, **arguments: Any) -> Any:
        """The answer of one method."""
        try:
            self._process.stdin.write(json.dumps({"method": method, "arguments": arguments}) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            status = self._process.wait()
            self._listener.join(1)
            words = "".join(self._last_words[-15:])
            raise SideError(f"{self.name}: the process ended with status {status} in {method}()\n{words}")
        answer = json.loads(line)
        if "absent" in answer:
            raise SideAbsent(answer["absent"])
        if "error" in answer:
            raise SideError(f"{self.name}: {method}() failed\n{answer['error']}")
        return answer["result"]

    def close(self) -> None:
        """End the process; its memory is free afterwards."""
        for pipe in (self._process.stdin, self._process.stdout):
            try:
                pipe.close()
            except BrokenPipeError:
                pass
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _listen(self) -> None:
        for line in self._process.stderr:
            self._last_words = [*self._last_words[-100:], line]


def serve(module: str) -> None:
    """Answer calls until the pipe closes. What libraries print goes to standard error."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    side: Any = None
    for line in sys.stdin:
        request = json.loads(line)
        try:
            if request["method"] == "__init__":
                side = importlib.import_module(module).Side(**request["arguments"])
                answer = {"result": None}
            else:
                answer = {"result": getattr(side, request["method"])(**request["arguments"])}
        except ImportError as error:
            answer = {"absent": f"{module.rpartition('.')[2]}: {error}"}
        except Exception:
            answer = {"error": traceback.format_exc()}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    # bench/ is found behind everything that is installed, so that what is measured is the installed ptagrpo.
    sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != Path(__file__).resolve().parent]
    sys.path.append(str(ROOT))
    serve(sys.argv[1])
