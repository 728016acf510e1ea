"""Sides of a comparison in turn: one repetition each a round, so that drift of the machine hits all alike."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .worker import SideAbsent, SideError, Worker


class UnequalWork(SideError):
    """Two sides of a comparison did not compute the same thing."""


@dataclass(frozen=True)
class Contestant:
    """A side, how it is made, what is done once before (`prepare`), and the call that is timed.

    prepare: method names with their arguments. timed: method name and arguments.
    """

    name: str
    module: str
    options: Mapping[str, Any]
    timed: tuple[str, Mapping[str, Any]]
    prepare: Sequence[tuple[str, Mapping[str, Any]]] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    warm_up: int = 1


@dataclass
class Runs:
    """What a contestant returned: answers of `prepare`, of the warm-up and of the timed rounds; peak memory in bytes.

    absent: why it could not run, else empty.
    """

    prepared: list[Any] = field(default_factory=list)
    warm: list[dict[str, Any]] = field(default_factory=list)
    timed: list[dict[str, Any]] = field(default_factory=list)
    peak_bytes: int = 0
    versions: dict[str, Any] = field(default_factory=dict)
    absent: str = ""

    @property
    def seconds(self) -> float:
        """Median over the rounds."""
        return statistics.median(run["seconds"] for run in self.timed)


def interleave(
    contestants: Sequence[Contestant],
    rounds: int,
    together: bool = True,
    times: int = 1,
    before: Callable[[str], Any] = lambda name: None,
) -> dict[str, Runs]:
    """Run every contestant once a round.

    Args:
        together: all stay in memory. False: each is started anew for its turn and ended after it, for models of which
            two do not fit side by side.
        times: timed calls of a turn.
        before: called with a side's name just before its turn, while all sides wait.

    Raises:
        SideError: a side failed for another reason than a missing library.
    """
    found = {contestant.name: Runs() for contestant in contestants}
    workers: dict[str, Worker] = {}
    try:
        for _ in range(rounds):
            for contestant in contestants:
                runs = found[contestant.name]
                if runs.absent:
                    continue
                if contestant.name not in workers:
                    try:
                        workers[contestant.name] = _start(contestant, runs)
                    except SideAbsent as error:
                        runs.absent = str(error)
                        continue
                worker = workers[contestant.name]
                method, arguments = contestant.timed
                before(contestant.name)
                runs.timed += [worker.call(method, **arguments) for _ in range(times)]
                runs.peak_bytes = max(runs.peak_bytes, peak_bytes(worker.pid))
                if not together:
                    workers.pop(contestant.name).close()
    finally:
        for worker in workers.values():
            worker.close()
    return found


def _start(contestant: Contestant, runs: Runs) -> Worker:
    worker = Worker(contestant.module, contestant.options, contestant.environment)
    try:
        runs.prepared = [worker.call(method, **arguments) for method, arguments in contestant.prepare]
        method, arguments = contestant.timed
        runs.warm = [worker.call(method, **arguments) for _ in range(contestant.warm_up)]
        runs.versions = worker.call("versions")
    except SideError:
        worker.close()
        raise
    return worker


def peak_bytes(pid: int) -> int:
    """Largest resident memory of a process so far (VmHWM); 0 where the system does not say."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


def check_equal(what: str, ours: float, peer: float, tolerance: float) -> None:
    """Raise UnequalWork unless the two agree to `tolerance` (absolute)."""
    if not abs(ours - peer) <= tolerance:
        raise UnequalWork(f"{what}: ours {ours:.6g}, peer {peer:.6g}, apart by more than {tolerance:.2g}")


def fastest(found: Mapping[str, Runs], names: Sequence[str]) -> str | None:
    """The name with the smallest median among those that ran."""
    ran = [name for name in names if found[name].timed]
    return min(ran, key=lambda name: found[name].seconds, default=None)
