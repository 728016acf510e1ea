"""Plan distillation (stage 1): from worked solutions to records with a plan, resumable at the request."""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..answers import Judge
from ..errors import ConfigError
from ..io import atomic_write_json, write_jsonl
from .cache import Reply, ReplyCache, request_key
from .checks import check_plan, check_solution, clean_plan
from .prompts import ask_again, plan_request
from .teacher import Request, Teacher
from .verify import mismatches


@dataclass
class DistillReport:
    """What came of a distillation.

    rows: records {"id", "question", "plan", "think", "answer"} in the order of the traces.
    dropped: {"id", "question", "reason", "plan"} of everything that gave no record: what was `skipped` while
        reading, then traces in their order. "plan" is the teacher's last reply, "" where it was never asked.
    requests, cached: replies asked for in this run, replies taken from the cache. retries: repeated requests.
    prompt_tokens, completion_tokens: of this run's replies, as counted by the endpoint.
    uncounted: replies without token counts.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    dropped: list[dict[str, Any]] = field(default_factory=list)
    teacher: str = ""
    requests: int = 0
    cached: int = 0
    failed: int = 0
    retries: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    uncounted: int = 0

    def summary(self) -> dict[str, Any]:
        """The counts, and how often each reason dropped a trace."""
        names = (
            "teacher",
            "requests",
            "cached",
            "failed",
            "retries",
            "prompt_tokens",
            "completion_tokens",
            "uncounted",
        )
        reasons = Counter(_reason_kind(row["reason"]) for row in self.dropped)
        return {
            "traces": len(self.rows) + len(self.dropped),
            "records": len(self.rows),
            "dropped": len(self.dropped),
            "dropped_because": dict(reasons.most_common()),
            **{name: getattr(self, name) for name in names},
        }


@dataclass
class _Work:
    """One distinct trace on its way: its latest request and what became of it."""

    trace: Mapping[str, Any]
    messages: list[dict[str, Any]]
    plan: str | None = None
    reply: str = ""
    reason: str | None = None
    failed: bool = False


def distill_plans(
    traces: Sequence[Mapping[str, Any]],
    teacher: Teacher,
    *,
    skipped: Sequence[Mapping[str, Any]] = (),
    verify: bool = True,
    judge_timeout: float = 5.0,
    cache: str | os.PathLike | None = None,
    attempts: int = 2,
    max_words: int = 200,
    on_progress: Callable[[int, int, int], None] | None = None,
    on_verify: Callable[[int, int], None] | None = None,
) -> DistillReport:
    """Have `teacher` summarise every worked solution into a plan.

    Args:
        traces: rows {"id", "question", "think", "answer"} and optionally "reference", as
            `ptagrpo.data.read_traces` gives them.
        skipped: rows {"id", "question", "reason"} that were left out before, for the report.
        verify: drop traces whose answer differs from the reference or from the end of their own reasoning (see
            `verify.py`), unasked. on_verify: called as f(done, total) meanwhile.
        judge_timeout: seconds for one comparison of answers.
        cache: JSONL file of finished replies. A run that was killed, given the same file, asks only for the
        rest.
        attempts: how often a trace is asked for; after a refused plan the teacher is told why and asked
        again.
        max_words: longest plan accepted.
        on_progress: called as f(done, total, tokens) within each round of attempts.

    Returns:
        Records and drops that together cover every trace and everything skipped. A trace given twice is asked
        for once.

    Raises:
        TeacherError: the endpoint refuses the key or is gone. Finished replies are in the cache.
        ConfigError: a setting out of range; the cache is held by another process.
    """
    if attempts < 1 or max_words < 1:
        raise ConfigError(f"attempts and max_words: expected at least 1, got {attempts} and {max_words}")
    report = DistillReport(teacher=teacher.name)
    report.dropped = [{**_head(row), "reason": row["reason"], "plan": ""} for row in skipped]
    works: dict[tuple[str | None, ...], _Work] = {}
    for trace in traces:
        if _identity(trace) not in works:
            work = _Work(trace, plan_request(trace["question"], trace["think"], max_words))
            work.reason = check_solution(trace["think"])
            work.failed = work.reason is not None
            works[_identity(trace)] = work
    if verify:
        _verify([work for work in works.values() if not work.failed], judge_timeout, on_verify)
    retries_before = teacher.retries
    with ReplyCache(cache) as replies:
        for attempt in range(attempts):
            pending = [work for work in works.values() if work.plan is None and not work.failed]
            if not pending:
                break
            if attempt > 0:
                for work in pending:
                    work.messages = ask_again(work.messages, work.reply, work.reason)
            _round(pending, teacher, replies, report, max_words, on_progress)
    report.retries = teacher.retries - retries_before
    for trace in traces:
        work, row = works[_identity(trace)], _head(trace)
        if work.plan is not None:
            report.rows.append({**row, "plan": work.plan, "think": trace["think"], "answer": trace["answer"]})
        else:
            report.dropped.append({**row, "reason": work.reason, "plan": work.reply})
    return report


def _head(row: Mapping[str, Any]) -> dict[str, Any]:
    return {"id": row["id"], "question": row["question"]}


def _identity(trace: Mapping[str, Any]) -> tuple[str | None, ...]:
    return tuple(trace.get(name) for name in ("question", "think", "answer", "reference"))


def _verify(works: list[_Work], timeout: float, on_verify: Callable[[int, int], None] | None) -> None:
    with Judge(timeout) as judge:
        reasons = mismatches([work.trace for work in works], judge, on_progress=on_verify)
    for place, reason in reasons.items():
        works[place].failed, works[place].reason = True, reason


def _round(
    pending: list[_Work],
    teacher: Teacher,
    replies: ReplyCache,
    report: DistillReport,
    max_words: int,
    on_progress: Callable[[int, int, int], None] | None,
) -> None:
    """Get a reply for every pending trace, from the cache or the teacher, and judge it."""
    by_key: dict[str, list[_Work]] = {}
    for work in pending:
        by_key.setdefault(request_key(work.messages, teacher.name, teacher.params), []).append(work)
    missing = [Request(key, works[0].messages) for key, works in by_key.items() if replies.get(key) is None]
    report.cached += len(by_key) - len(missing)
    mutex, done = threading.Lock(), len(by_key) - len(missing)

    def advance() -> None:
        nonlocal done
        done += 1
        if on_progress is not None:
            on_progress(done, len(by_key), report.prompt_tokens + report.completion_tokens)

    def on_reply(request: Request, reply: Reply) -> None:
        replies.put(request.key, teacher.name, reply)
        with mutex:
            report.requests += 1
            report.prompt_tokens += reply.prompt_tokens or 0
            report.completion_tokens += reply.completion_tokens or 0
            report.uncounted += reply.prompt_tokens is None or reply.completion_tokens is None
            advance()

    def on_failure(request: Request, why: str) -> None:
        with mutex:
            report.failed += 1
            for work in by_key[request.key]:
                work.failed, work.reason = True, f"no reply: {why}"
            advance()

    if on_progress is not None:
        on_progress(done, len(by_key), report.prompt_tokens + report.completion_tokens)
    if missing:
        teacher.ask_many(missing, on_reply, on_failure)
    for key, works in by_key.items():
        reply = replies.get(key)
        for work in works if reply is not None else ():
            _judge(work, reply, max_words)


def _judge(work: _Work, reply: Reply, max_words: int) -> None:
    plan, trace = clean_plan(reply.text), work.trace
    work.reply = reply.text
    work.reason = check_plan(
        plan, trace["question"], trace["answer"], finish_reason=reply.finish_reason, max_words=max_words
    )
    work.plan = plan if work.reason is None else None


def _reason_kind(reason: str) -> str:
    """A reason without its particulars, for counting."""
    return reason.partition(" (")[0].partition(":")[0]


def write_report(report: DistillReport, output: str | os.PathLike) -> dict[str, Path]:
    """Write the records to `output`, drops beside it as `<stem>.dropped.jsonl`, counts as
    `<stem>.report.json`.

    Each file is written atomically; a file of drops is written even when it is empty.
    """
    output = Path(output)
    output.parent.mkdir(parents=True, exist_ok=True)
    paths = {
        "output": output,
        "dropped": output.with_name(f"{output.stem}.dropped.jsonl"),
        "report": output.with_name(f"{output.stem}.report.json"),
    }
    write_jsonl(paths["dropped"], report.dropped)
    atomic_write_json(paths["report"], report.summary())
    write_jsonl(output, report.rows)
    return paths
