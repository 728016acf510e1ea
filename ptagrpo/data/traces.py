"""Worked solutions, what plan distillation starts from, and what was left out of them and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from ..errors import ConfigError, DataError
from .formats import RowFormat, Trace, Unusable
from .loading import open_rows, unique_id
from .readers import Source, SourceRow

NO_ANSWER = "the solution states no final answer"
MARKED_WRONG = "the data set marks the solution as wrong"


def load_traces(source: Source, **options: Any) -> list[dict[str, Any]]:
    """The usable rows of `read_traces`, which describes the options.

    >>> load_traces([{"question": "1+1?", "answer": "Add: 1+1=<<1+1=2>>2\\n#### 2"}])[0]["think"]
    'Add: 1+1=2'
    """
    return read_traces(source, **options)[0]


def read_traces(
    source: Source,
    *,
    data_format: str = "auto",
    columns: Mapping[str, str] | None = None,
    split: str | None = None,
    config: str | None = None,
    limit: int | None = None,
    per_question: int | None = None,
    keep_wrong: bool = False,
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Read worked solutions.

    Args:
        per_question: at most this many solutions of one row, the first ones (None: all).
        keep_wrong: keep solutions that the data set itself marks as wrong.
        source, data_format, columns, split, config, limit: as in `load_questions`; `limit` counts rows of the
            source.

    Returns:
        Rows {"id", "question", "think", "answer"}, with "reference" where the data set has an answer of its own
        to compare with; and {"id", "question", "reason"} of every row or solution that is in order but cannot
        be used.

    Raises:
        DataError: a malformed row, or no usable solution in all rows.
    """
    rows, spec = open_rows(source, data_format, columns, split, config, limit)
    if spec.traces is None:
        raise ConfigError(f"the data format '{spec.name}' holds no worked solutions to summarise")
    found: list[dict[str, Any]] = []
    skipped: list[dict[str, Any]] = []
    seen: set[str] = set()
    for row in rows:
        name = unique_id(row, seen)
        try:
            traces = _traces_of(row, spec)
        except Unusable as reason:
            skipped.append({"id": name, "question": _question_text(row, spec), "reason": str(reason)})
            continue
        kept = []
        for trace in traces:
            reason = _why_not(trace, keep_wrong)
            if reason is None:
                kept.append(trace)
            else:
                skipped.append({"id": name, "question": trace.question, "reason": reason})
        kept = kept[:per_question]
        found += [_trace_row(t, name if len(kept) == 1 else f"{name}/{k}") for k, t in enumerate(kept)]
    if not found:
        reasons = Counter(row["reason"] for row in skipped).most_common()
        raise DataError(
            f"no worked solution in {len(rows)} rows (data format '{spec.name}': {spec.columns}): "
            + "; ".join(f"{count} times: {reason}" for reason, count in reasons),
            file=rows[0].file,
        )
    return found, skipped


def _traces_of(row: SourceRow, spec: RowFormat) -> list[Trace]:
    try:
        traces = spec.traces(row.values)
    except Unusable:
        raise
    except ValueError as error:
        raise row.error(f"{error} (data format '{spec.name}': {spec.columns})") from error
    if not traces:
        raise Unusable("the row holds no worked solution")
    return traces


def _question_text(row: SourceRow, spec: RowFormat) -> str:
    """The question of a row that gives no trace, for the report; "" where it cannot be told."""
    try:
        return str(spec.question(row.values)[0]) if spec.question else ""
    except ValueError:
        return ""


def _why_not(trace: Trace, keep_wrong: bool) -> str | None:
    if trace.correct is False and not keep_wrong:
        return MARKED_WRONG
    return None if trace.answer else NO_ANSWER


def _trace_row(trace: Trace, name: str) -> dict[str, Any]:
    row = {"id": name, "question": trace.question, "think": trace.think, "answer": trace.answer}
    return row if trace.reference is None else {**row, "reference": trace.reference}
