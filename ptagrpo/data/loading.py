"""From any source of rows to what the stages take: RL questions, worked solutions, SFT rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import ConfigError, DataError
from ..records import Question
from .columns import ID_COLUMNS, PROMPT_COLUMNS, answer_text, first_column, is_messages, rename
from .formats import FALLBACK, RowFormat, Trace, all_formats, find_format
from .readers import Source, SourceRow, read_rows


def load_questions(
    source: Source,
    *,
    data_format: str = "auto",
    columns: Mapping[str, str] | None = None,
    split: str | None = None,
    limit: int | None = None,
    require_answer: bool = False,
) -> list[Question]:
    """Read RL questions.

    Args:
        source: see `read_rows`; also the name of a format with a home on the hub ("gsm8k", ...).
        data_format: a format's name, or "auto" to recognise it by the columns of the first row.
        columns: renames columns first, {our name: the data set's name}.
        limit: at most this many questions, the first ones.
        require_answer: refuse rows whose answer is null or blank (else `answer` is None there).

    Returns:
        One `Question` a row; `columns` holds every column but the prompt and the id, for the rewards.
        Ids are the row's own, else "<row number>"; a repeated id gets "#2", "#3", ... appended.

    Raises:
        DataError: names file and line and says what was expected.

    >>> load_questions([{"question": "1+1?", "answer": 2, "level": 1}])[0].columns
    {'answer': 2, 'level': 1}
    """
    rows, spec = _open(source, data_format, columns, split, limit)
    if spec.question is None:
        raise ConfigError(f"the data format '{spec.name}' does not hold RL questions")
    questions, seen = [], set()
    for row in rows:
        try:
            prompt, answer = spec.question(row.values)
        except ValueError as error:
            raise row.error(f"{error} (data format '{spec.name}': {spec.columns})") from error
        if require_answer and answer is None:
            raise row.error(f"expected a reference answer (data format '{spec.name}': {spec.columns})")
        questions.append(Question(_unique_id(row, seen), prompt, answer, _other_columns(row)))
    return questions


def load_traces(
    source: Source,
    *,
    data_format: str = "auto",
    columns: Mapping[str, str] | None = None,
    split: str | None = None,
    limit: int | None = None,
    per_question: int | None = None,
    keep_wrong: bool = False,
) -> list[dict[str, Any]]:
    """Read worked solutions: rows {"id", "question", "think", "answer"}, what plan distillation starts from.

    Args:
        per_question: at most this many solutions of one row, the first ones (None: all).
        keep_wrong: keep solutions that the data set itself marks as wrong.
        source, data_format, columns, limit: as in `load_questions`; `limit` counts rows of the source.

    Raises:
        DataError: a malformed row, or no solution in all rows.
    """
    rows, spec = _open(source, data_format, columns, split, limit)
    if spec.traces is None:
        raise ConfigError(f"the data format '{spec.name}' holds no worked solutions to summarise")
    found, seen = [], set()
    for row in rows:
        try:
            traces = spec.traces(row.values)
        except ValueError as error:
            raise row.error(f"{error} (data format '{spec.name}': {spec.columns})") from error
        kept = [t for t in traces if keep_wrong or t.correct is not False][:per_question]
        name = _unique_id(row, seen)
        found += [_trace_row(t, name if len(kept) == 1 else f"{name}/{k}") for k, t in enumerate(kept)]
    if not found:
        raise DataError(
            f"no worked solution in {len(rows)} rows (data format '{spec.name}': {spec.columns})",
            file=rows[0].file,
        )
    return found


def load_sft_rows(
    source: Source,
    *,
    columns: Mapping[str, str] | None = None,
    split: str | None = None,
    limit: int | None = None,
) -> list[dict[str, Any]]:
    """Read rows for stage 1, checked one by one.

    A row is {"question" or "prompt", "plan", "think", "answer"}, {"prompt", "completion"}, {"messages"}
    or {"text"}.

    Raises:
        DataError: a row is none of these, or a part is missing, not text or blank; names file and line.
    """
    rows, _ = _open(source, FALLBACK, columns, split, limit)
    for row in rows:
        try:
            check_sft_row(row.values)
        except ValueError as error:
            raise row.error(str(error)) from error
    return [_sft_row(row.values) for row in rows]


def check_sft_row(row: Mapping[str, Any]) -> None:
    """Raise `ValueError` when `row` is none of the four kinds of SFT row."""
    if "messages" in row:
        if not is_messages(row["messages"]) or row["messages"][-1]["role"] != "assistant":
            raise ValueError("expected 'messages' as [{'role', 'content'}, ...] ending with the assistant's")
        return
    if "completion" in row:
        if first_column(row, ("prompt",)) is None:
            raise ValueError("expected a 'prompt' beside 'completion'")
        completion = row["completion"]
        if not is_messages(completion) and (not isinstance(completion, str) or not completion):
            raise ValueError("expected 'completion' as text (not empty) or as messages")
        return
    if "text" in row and "plan" not in row:
        if not isinstance(row["text"], str) or not row["text"]:
            raise ValueError("expected 'text' to be text that is not empty")
        return
    if first_column(row, PROMPT_COLUMNS) is None:
        raise ValueError(
            "expected {'question', 'plan', 'think', 'answer'}, {'prompt', 'completion'}, {'messages'} or "
            f"{{'text'}}; the row has {sorted(map(str, row))}"
        )
    for part in ("plan", "think"):
        value = row.get(part)
        if not isinstance(value, str) or not value.strip():
            hint = "; `ptagrpo distill` adds plans to worked solutions" if part == "plan" else ""
            raise ValueError(f"expected '{part}' as text that is not blank, got {str(value)[:40]!r}{hint}")
    if row.get("answer") is None:
        raise ValueError("expected the final answer in a column 'answer'")
    answer_text(row["answer"])


def _sft_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row with its prompt under the name "question" and its answer as text, where it is a plan row."""
    if "plan" not in row or "messages" in row or "completion" in row:
        return dict(row)
    name = first_column(row, PROMPT_COLUMNS)
    rest = {key: value for key, value in row.items() if key not in (name, "answer")}
    return {"question": row[name], **rest, "answer": answer_text(row["answer"])}


def _open(
    source: Source, data_format: str, columns: Mapping[str, str] | None, split: str | None, limit: int | None
) -> tuple[list[SourceRow], RowFormat]:
    if limit is not None and limit < 1:
        raise ConfigError(f"limit: expected at least 1 row, got {limit}")
    if isinstance(source, str) and source in all_formats() and all_formats()[source].hub:
        spec = all_formats()[source]
        rows = read_rows(spec.hub.repo, config=spec.hub.config, split=split or spec.hub.split)
        data_format = spec.name if data_format == "auto" else data_format
    else:
        rows = read_rows(source, split=split or "train")
    rows = rows[:limit]
    if columns:
        renamed = []
        for row in rows:
            try:
                renamed.append(SourceRow(rename(row.values, columns), row.index, row.file, row.line))
            except ValueError as error:
                raise row.error(str(error)) from error
        rows = renamed
    return rows, find_format(data_format, rows[0].values)


def _unique_id(row: SourceRow, seen: set[str]) -> str:
    name = first_column(row.values, ID_COLUMNS)
    base = str(row.index) if name is None else str(row.values[name])
    unique, copy = base, 1
    while unique in seen:
        copy += 1
        unique = f"{base}#{copy}"
    seen.add(unique)
    return unique


def _other_columns(row: SourceRow) -> dict[str, Any]:
    prompt = first_column(row.values, PROMPT_COLUMNS)
    return {name: value for name, value in row.values.items() if name not in (prompt, "id")}


def _trace_row(trace: Trace, name: str) -> dict[str, Any]:
    return {"id": name, "question": trace.question, "think": trace.think, "answer": trace.answer}
