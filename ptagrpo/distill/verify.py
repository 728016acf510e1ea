"""Is a worked solution fit to learn from? Its answer against the data set's, and its reasoning against its answer.

Answers are compared as mathematics, by the judge of `ptagrpo.answers`. A solution that fails is dropped before a
teacher is asked for its plan.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..answers.extract import last_boxed

if TYPE_CHECKING:
    from ..answers import Judge

BATCH = 64  # comparisons between two calls of on_progress


def mismatches(
    traces: Sequence[Mapping[str, Any]],
    judge: Judge,
    *,
    on_progress: Callable[[int, int], None] | None = None,
) -> dict[int, str]:
    """The traces whose answers do not agree, by their place, with the reason.

    Two comparisons, each where there is something to compare: the answer with the data set's own ("reference");
    the last box in the reasoning with the answer.

    Args:
        traces: rows {"think", "answer"} and optionally "reference".
        on_progress: called as f(done, total) in comparisons.
    """
    wanted: list[tuple[int, str, str, str]] = []
    for place, trace in enumerate(traces):
        if trace.get("reference"):
            wanted.append((place, "its answer and the reference answer", trace["answer"], trace["reference"]))
        boxed = last_boxed(trace["think"])
        if boxed is not None and boxed != trace["answer"]:
            wanted.append(
                (place, "the reasoning's last boxed answer and the final one", boxed, trace["answer"])
            )
    reasons: dict[int, str] = {}
    for start in range(0, len(wanted), BATCH):
        part = wanted[start : start + BATCH]
        verdicts = judge.judge_extracted([(stated, gold) for _, _, stated, gold in part])
        for (place, what, stated, gold), verdict in zip(part, verdicts, strict=True):
            if verdict.status == "wrong":
                reasons.setdefault(place, f"{what} differ ({_short(stated)} and {_short(gold)})")
            elif verdict.status != "correct":
                reasons.setdefault(
                    place, f"{what} could not be compared ({verdict.status}: {verdict.detail})"
                )
        if on_progress is not None:
            on_progress(start + len(part), len(wanted))
    return reasons


def _short(answer: str, limit: int = 60) -> str:
    return answer if len(answer) <= limit else answer[: limit - 1] + "…"
