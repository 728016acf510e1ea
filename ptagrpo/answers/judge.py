"""Judge responses against reference answers: correct, wrong, no answer, time-out or error, and never a
guess."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from types import TracebackType

from .compare import compare
from .extract import KINDS, extract_answer
from .normalize import normalize_answer
from .process import MAX_TEXT, WorkerDied, WorkerProcess, WorkerTimeout

STATUSES = ("correct", "wrong", "no_answer", "timeout", "error")
CACHE_SIZE = 20_000


@dataclass(frozen=True)
class Verdict:
    """What became of one response.

    status: "correct", "wrong", "no_answer" (the response states none), "timeout" (the comparison took too
        long) or "error" (it could not be made: the reference answer is unreadable, memory ran out, the
        worker died twice).
    extracted: the stated answer as written, None when there is none.
    detail: how the verdict came about, for people.
    """

    status: str
    extracted: str | None
    detail: str = ""

    @property
    def correct(self) -> bool:
        """True for "correct" only."""
        return self.status == "correct"


class _Lost(Exception):
    """The worker died over an item, and so did the next one."""


class Judge:
    """Checks answers, with math-verify in worker processes that are killed when they take too long.

    Plain numbers, words and shapes are decided in this process, in microseconds; only expressions that need
    algebra go to a worker, one at a time per worker, and their verdicts are remembered. A worker that dies
    is replaced and its item tried once more. May be used from several threads. Close it, or use it as a
    context manager; a worker does not outlive this process in any case.

    Args:
        timeout: seconds of wall time one comparison may take.
        num_workers: worker processes at most (each some 100 MB).
        memory_limit_mb: MiB a worker may grow; 0 for no limit.

    Raises:
        ValueError: `timeout` or `num_workers` is not positive.

    >>> with Judge() as judge:
    ...     [verdict.status for verdict in judge.judge([(r"so \\boxed{0.5}", r"\\frac12"), ("Hm.", "3")])]
    ['correct', 'no_answer']
    """

    def __init__(self, timeout: float = 5.0, num_workers: int = 1, *, memory_limit_mb: int = 2048):
        if not timeout > 0:
            raise ValueError(f"Judge: timeout must be positive seconds, got {timeout!r}")
        if num_workers < 1:
            raise ValueError(f"Judge: num_workers must be at least 1, got {num_workers!r}")
        self.timeout = timeout
        self.num_workers = num_workers
        self._workers = [WorkerProcess(timeout, memory_limit_mb) for _ in range(num_workers)]
        self._locks = [threading.Lock() for _ in range(num_workers)]
        self._stopping = threading.Event()
        self._pool: ThreadPoolExecutor | None = None
        self._cache: OrderedDict[tuple[str, str], tuple[str, str]] = OrderedDict()
        self._cache_lock = threading.Lock()

    def __enter__(self) -> Judge:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        for worker in getattr(self, "_workers", []):
            worker.close()

    @property
    def worker_pids(self) -> list[int]:
        """Process ids of the workers that run now."""
        return [worker.pid for worker in self._workers if worker.pid is not None]

    def close(self) -> None:
        """End the workers. The judge may be used again: it starts new ones."""
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None
        for worker in self._workers:
            worker.close()

    def judge(self, items: Iterable[tuple[str, str]], kind: str = "math") -> list[Verdict]:
        """Verdicts on (response, reference answer) pairs, in their order.

        Args:
            items: the response is a whole text, from which the answer is extracted (see `extract_answer`).
            kind: "math" (equal as mathematics) or "exact" (equal as text, letter case and spaces aside; no
                worker).

        Raises:
            ValueError: an unknown kind.   TypeError: a response or an answer is not text.
            GradingError: the worker cannot be started at all (math-verify is missing).
        """
        pairs: list[tuple[str | None, str]] = []
        for number, item in enumerate(items):
            response, gold = item
            for name, value in (("response", response), ("reference answer", gold)):
                if not isinstance(value, str):
                    raise TypeError(
                        f"Judge.judge: {name} of item {number} is {type(value).__name__}, expected str"
                    )
            pairs.append((extract_answer(response, kind), gold))
        return self.judge_extracted(pairs, kind)

    def judge_extracted(self, pairs: Sequence[tuple[str | None, str]], kind: str = "math") -> list[Verdict]:
        """As `judge`, for answers that are already extracted (None: there is none)."""
        if kind not in KINDS:
            raise ValueError(f"Judge: kind is {kind!r}, expected one of {', '.join(map(repr, KINDS))}")
        verdicts: list[Verdict | None] = [_decide_here(prediction, gold, kind) for prediction, gold in pairs]
        waiting: OrderedDict[tuple[str, str], list[int]] = OrderedDict()
        for index, (verdict, (prediction, gold)) in enumerate(zip(verdicts, pairs, strict=True)):
            if verdict is None:
                assert prediction is not None
                waiting.setdefault((prediction, gold), []).append(index)
        for key, (status, detail) in zip(waiting, self._ask_all(list(waiting)), strict=True):
            for index in waiting[key]:
                verdicts[index] = Verdict(status, key[0], detail)
        return [verdict for verdict in verdicts if verdict is not None]

    def _ask_all(self, keys: list[tuple[str, str]]) -> list[tuple[str, str]]:
        if self.num_workers == 1 or len(keys) < 2:
            return [self._remembered(key, 0) for key in keys]
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self.num_workers, thread_name_prefix="ptagrpo-judge")
        results: list[tuple[str, str]] = [("error", "")] * len(keys)
        positions = iter(range(len(keys)))
        lock = threading.Lock()

        def serve(slot: int) -> None:
            while True:
                with lock:
                    position = next(positions, None)
                if position is None or self._stopping.is_set():
                    return
                results[position] = self._remembered(keys[position], slot)

        futures = [self._pool.submit(serve, slot) for slot in range(self.num_workers)]
        try:
            for future in futures:
                future.result()
        except BaseException:  # Ctrl-C, or a worker that cannot be started: nobody goes on in the background
            self._stopping.set()
            for worker in self._workers:
                worker.kill()
            wait(futures)
            self._stopping.clear()
            raise
        return results

    def _remembered(self, key: tuple[str, str], slot: int) -> tuple[str, str]:
        with self._cache_lock:
            if key in self._cache:
                self._cache.move_to_end(key)
                return self._cache[key]
        try:
            with self._locks[slot]:
                answer = self._ask(key, self._workers[slot])
        except _Lost as error:  # not remembered: the cause may lie outside of the item
            return "error", str(error)
        with self._cache_lock:
            self._cache[key] = answer
            if len(self._cache) > CACHE_SIZE:
                self._cache.popitem(last=False)
        return answer

    def _ask(self, key: tuple[str, str], worker: WorkerProcess) -> tuple[str, str]:
        reason = ""
        for _ in range(2):
            try:
                reply = worker.ask(*key)
                return reply["status"], reply["detail"]
            except WorkerTimeout:
                return "timeout", f"the comparison took more than {self.timeout:g} s"
            except WorkerDied as error:
                reason = str(error)
                worker.close()
            if self._stopping.is_set():
                break
        raise _Lost(f"{reason}, twice")


def _decide_here(prediction: str | None, gold: str, kind: str) -> Verdict | None:
    """The verdict, where no algebra is needed; None where it is."""
    if prediction is None:
        return Verdict("no_answer", None, "the response states no answer")
    if not gold.strip():
        return Verdict("error", prediction, "the reference answer is empty")
    if kind == "exact":
        same = normalize_answer(prediction, "exact") == normalize_answer(gold, "exact")
        return Verdict("correct" if same else "wrong", prediction, "text")
    if len(prediction) > MAX_TEXT or len(gold) > MAX_TEXT:
        if prediction == gold:
            return Verdict("correct", prediction, "text")
        return Verdict(
            "wrong", prediction, f"no final answer: longer than {MAX_TEXT} characters, and not the same text"
        )
    try:
        same_value = compare(prediction, gold)
    except RecursionError:
        return Verdict("error", prediction, "the answer is nested too deeply")
    if same_value is None:
        return None
    return Verdict("correct" if same_value else "wrong", prediction, "numbers, words or shape")
