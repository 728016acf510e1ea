"""The process that runs the symbolic engine: `python -m ptagrpo.answers.worker`.

JSON lines on stdin and stdout. First line out: `{"ready": true}` or `{"fatal": "..."}`. Then for each line
in, `{"prediction": str, "gold": str}`, one line out, `{"status": ..., "detail": ...}`; the status is
"correct", "wrong" or "error". It has no time limit of its own that could be fooled: the judge kills it. It
never outlives its parent: it ends when stdin ends, the kernel kills it when the parent dies (where there is
prctl), and a limit on its own CPU time ends an endless computation whose parent is gone.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import signal
import sys
from collections.abc import Callable

_SANITIZER_BYTES = (
    1 << 40
)  # an address sanitizer reserves terabytes: an address-space limit means nothing there
_MIB = 1 << 20


def _die_with_parent(parent: int) -> None:
    """Ask the kernel to kill this process when its parent dies (Linux); a no-op elsewhere."""
    try:
        import ctypes

        ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)  # 1 = PR_SET_PDEATHSIG
    except (OSError, AttributeError, TypeError, ValueError):
        return
    if parent and os.getppid() != parent:  # it died before the call
        os._exit(0)


def _address_space() -> int:
    """Bytes of address space in use, 0 when unknown."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return 0


def limit_memory(mebibytes: int) -> bool:
    """Let this process grow by `mebibytes` and no more. Returns whether a limit was set."""
    used = _address_space()
    if mebibytes <= 0 or used == 0 or used > _SANITIZER_BYTES:
        return False
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    wanted = used + mebibytes * _MIB
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_AS, (wanted, hard))
    return True


def limit_cpu(seconds: float) -> None:
    """Let this process compute for `seconds` from now; the kernel then ends it (SIGXCPU)."""
    try:
        import resource

        usage = resource.getrusage(resource.RUSAGE_SELF)
        _, hard = resource.getrlimit(resource.RLIMIT_CPU)
        wanted = int(usage.ru_utime + usage.ru_stime + seconds) + 1
        resource.setrlimit(resource.RLIMIT_CPU, (wanted if hard < 0 else min(wanted, hard), hard))
    except (ImportError, ValueError, OSError):
        return


def grade(prediction: str, gold: str, engine: Callable[[str, str], bool]) -> dict[str, str]:
    """One verdict. A gold that cannot be read is an error; a prediction that cannot be read is wrong, as
    text differs."""
    from .compare import compare
    from .symbolic import NotUnderstood

    try:
        verdict = compare(prediction, gold, engine)
    except NotUnderstood as error:
        if error.which == "gold":
            return {"status": "error", "detail": f"the reference answer: {error}"}
        return {"status": "wrong", "detail": f"{error}; compared as text"}
    except MemoryError:
        return {"status": "error", "detail": "out of memory in the symbolic engine"}
    except RecursionError:
        return {"status": "error", "detail": "the expression is nested too deeply"}
    except (
        Exception
    ) as error:  # whatever sympy raises is a verdict that could not be reached, not a wrong answer
        return {"status": "error", "detail": f"{type(error).__name__}: {error}"[:300]}
    return {"status": "correct" if verdict else "wrong", "detail": "symbolic"}


def main(arguments: list[str] | None = None) -> int:
    """Serve until stdin ends."""
    parser = argparse.ArgumentParser(prog="python -m ptagrpo.answers.worker", description=__doc__)
    parser.add_argument(
        "--memory-limit-mb", type=int, default=2048, help="growth allowed after start; 0: no limit"
    )
    parser.add_argument("--cpu-limit", type=float, default=60.0, help="CPU seconds an item may take at most")
    parser.add_argument("--parent", type=int, default=0, help="process id of the parent, checked once")
    options = parser.parse_args(arguments)

    _die_with_parent(options.parent)
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # Ctrl-C is the parent's to handle: it then closes or kills us
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # a library that prints must not speak into the protocol

    def send(message: dict) -> None:
        answers.write(json.dumps(message).encode("ascii") + b"\n")

    logging.disable(logging.CRITICAL)
    try:
        from .symbolic import equal_expressions

        equal_expressions(
            r"\frac{\sqrt{2}}{2}", r"\frac{1}{\sqrt{2}}"
        )  # builds the parser's tables before the clock runs
    except ImportError as error:
        send(
            {
                "fatal": f"math-verify cannot be imported ({error}); install it with: pip install "
                "'math-verify==0.9.*'"
            }
        )
        return 1
    limit_memory(options.memory_limit_mb)
    send({"ready": True})
    for line in sys.stdin.buffer:
        request = json.loads(line)
        limit_cpu(options.cpu_limit)
        try:
            reply = grade(request["prediction"], request["gold"], equal_expressions)
        except MemoryError:
            reply = {"status": "error", "detail": "out of memory in the symbolic engine"}
        send(reply)
    return 0


if __name__ == "__main__":
    sys.exit(main())
