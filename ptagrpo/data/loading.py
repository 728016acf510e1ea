"""From any source of rows to what the stages take: RL questions and SFT rows (`traces.py`: worked solutions)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import ConfigError
from ..records import Question
from .columns import ID_COLUMNS, PROMPT_COLUMNS, answer_text, first_column, is_messages, rename
from .formats import FALLBACK, Hub, RowFormat, all_formats, find_format, get_format
from .hub import looks_like_hub_id
from .outside import names_a_file
from .pictures import images_of
from .readers import Source, SourceRow, read_rows


def load_questions(
    source: Source,
    *,
    data_format: str = "auto",
    columns: Mapping[str, str] | None = None,
    split: str | None = None,
    config: str | None = None,
    limit: int | None = None,
    require_answer: bool = False,
) -> list[Question]:
    """Read RL questions.

    Args:
        source: see `read_rows`; also the name of a data set that `ptagrpo.data.formats` knows ("gsm8k", ...),
            or the path of a Python file that describes one. Its own file in the folder PTAGRPO_DATA comes first,
            then the hub.
        data_format: a format's name, the path of its Python file, or "auto" to recognise it by the columns of
            the first row.
        columns: renames columns first, {our name: the data set's name}.
        split, config: of a data set of the hub; None: its usual ones.
        limit: at most this many questions, the first ones.
        require_answer: refuse rows whose answer is null or blank (else `answer` is None there).

    Returns:
        One `Question` a row; `columns` holds every column but prompt, id and pictures, for the rewards.
        Ids are the row's own, else "<row number>"; a repeated id gets "#2", "#3", ... appended.

    Raises:
        DataError: names file and line and says what was expected.

    >>> load_questions([{"question": "1+1?", "answer": 2, "level": 1}])[0].columns
    {'answer': 2, 'level': 1}
    """
    rows, spec = open_rows(source, data_format, columns, split, config, limit)
    return questions_of(rows, spec, require_answer=require_answer)


def questions_of(rows: list[SourceRow], spec: RowFormat, *, require_answer: bool = False) -> list[Question]:
    """One `Question` a row, as `load_questions` gives them."""
    if spec.question is None:
        raise ConfigError(f"the data format '{spec.name}' does not hold RL questions")
    questions: list[Question] = []
    seen: set[str] = set()
    for row in rows:
        try:
            prompt, answer = spec.question(row.values)
            images = images_of(row.values, spec.image_columns, row.file)
        except ValueError as error:
            raise row.error(f"{error} (data format '{spec.name}': {spec.columns})") from error
        if require_answer and answer is None:
            raise row.error(f"expected a reference answer (data format '{spec.name}': {spec.columns})")
        questions.append(Question(unique_id(row, seen), prompt, answer, _other_columns(row, spec), images))
    return questions


def load_sft_rows(
    source: Source,
    *,
    columns: Mapping[str, str] | None = None,
    split: str | None = None,
    config: str | None = None,
    limit: int | None = None,
) -> list[dict[str, Any]]:
    """Read rows for stage 1, checked one by one.

    A row is {"question" or "prompt", "plan", "think", "answer"}, {"prompt", "completion"}, {"messages"}
    or {"text"}.

    Raises:
        DataError: a row is none of these, or a part is missing, not text or blank; names file and line.
    """
    rows, _ = open_rows(source, FALLBACK, columns, split, config, limit)
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


def open_rows(
    source: Source,
    data_format: str,
    columns: Mapping[str, str] | None,
    split: str | None,
    config: str | None,
    limit: int | None,
) -> tuple[list[SourceRow], RowFormat]:
    """The rows of a source, with columns renamed, and the format that reads them. See `load_questions`."""
    if limit is not None and limit < 1:
        raise ConfigError(f"limit: expected at least 1 row, got {limit}")
    spec = named_set(source)
    if spec is None:
        rows = read_rows(source, split=split or "train", config=config, limit=limit)
    else:
        home, split, config = _home(spec, split, config)
        rows = read_rows(home, split=split, config=config, limit=limit)
        data_format = str(source) if data_format == "auto" else data_format
    if columns:
        renamed = []
        for row in rows:
            try:
                renamed.append(SourceRow(rename(row.values, columns), row.index, row.file, row.line))
            except ValueError as error:
                raise row.error(str(error)) from error
        rows = renamed
    return rows, find_format(data_format, rows[0].values)


def _home(spec: RowFormat, split: str | None, config: str | None) -> tuple[Source, str, str | None]:
    """Where to read a data set: its own file, its own rows or the hub; with split and configuration."""
    usual = spec.hub or Hub("")
    chosen = split or usual.split
    folder = os.environ.get("PTAGRPO_DATA")
    path = Path(folder, spec.file) if folder and spec.file else None
    if path is not None and path.exists() and chosen == usual.split and config is None:
        return path, chosen, None
    if spec.rows is not None:
        return spec.rows(chosen), chosen, None
    return usual.repo, chosen, config or usual.config


def named_set(source: Source) -> RowFormat | None:
    """The data set that `source` names: "gsm8k", or a Python file with the `FORMAT` of one; else None.

    Raises:
        ConfigError: a Python file without a format, or one whose format does not say where its data is.
    """
    if not isinstance(source, (str, os.PathLike)):
        return None
    name = str(source)
    if names_a_file(name):
        spec = get_format(name)
        if spec.hub is None and spec.rows is None:
            raise ConfigError(
                f"{name}: its format says how to read rows, not where they are (hub= or rows=): name the data "
                f"as the source and this file as the data format"
            )
        return spec
    spec = None if Path(name).exists() else all_formats().get(name)
    return spec if spec is not None and (spec.hub or spec.rows) else None


def from_the_hub(source: Source) -> bool:
    """Whether `source` is a public data set: one named here, or a hub id."""
    spec = named_set(source)
    if spec is not None:
        return spec.hub is not None
    return isinstance(source, str) and not Path(source).exists() and looks_like_hub_id(source)


def unique_id(row: SourceRow, seen: set[str]) -> str:
    name = first_column(row.values, ID_COLUMNS)
    base = str(row.index) if name is None else str(row.values[name])
    unique, copy = base, 1
    while unique in seen:
        copy += 1
        unique = f"{base}#{copy}"
    seen.add(unique)
    return unique


def _other_columns(row: SourceRow, spec: RowFormat) -> dict[str, Any]:
    apart = {first_column(row.values, PROMPT_COLUMNS), "id", *spec.image_columns}
    return {name: value for name, value in row.values.items() if name not in apart}
