"""Rows from wherever they live: a list, JSONL, a JSON array, parquet, a `datasets.Dataset`, the hub.

Every row remembers where it came from, so that an error about its contents can name the file and the line.
Rows are read one after another, so that a limit is a limit on reading too. What the columns mean is not known
here: see `ptagrpo.data.formats`.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from ..errors import ConfigError, DataError, did_you_mean
from .hub import hub_rows, looks_like_hub_id

Source = str | os.PathLike | Iterable[Mapping[str, Any]]


@dataclass(frozen=True)
class SourceRow:
    """One row and its origin. `file` is None for rows given in memory; `line` (1-based) is None where a file
    has none."""

    values: dict[str, Any]
    index: int
    file: str | None = None
    line: int | None = None

    def error(self, message: str) -> DataError:
        """A `DataError` about this row that names its origin."""
        if self.line is None:
            message = f"row {self.index + 1}: {message}"
        return DataError(message, file=self.file, line=self.line)


def read_rows(
    source: Source, *, split: str = "train", config: str | None = None, limit: int | None = None
) -> list[SourceRow]:
    """Read the rows of `source`.

    Args:
        source: a path to `.jsonl`, `.json` or `.parquet`; a folder with the shards of a hub data set
            (`train-00000-of-00002.parquet`, in it, in `data/` or in a folder called like `config`); a hub id
            ("org/name"); an iterable of mappings, or anything that looks like a `datasets.Dataset` (has
            `column_names` and yields mappings).
        split: which split to read; used only for folders and hub ids.
        config: the hub data set's configuration; used only for folders and hub ids.
        limit: at most this many rows, the first ones; the rest is not read.

    Raises:
        DataError: missing or empty file, malformed line (file and line are named), not an object.
        ConfigError: parquet or hub ids without the optional packages that read them.

    >>> [row.values for row in read_rows([{"question": "1+1?", "answer": "2"}])]
    [{'question': '1+1?', 'answer': '2'}]
    """
    if isinstance(source, (str, os.PathLike)):
        path, where = Path(source), str(source)
        shards = _shards(path, split, config) if path.is_dir() else []
        if path.is_file():
            rows = _read_file(path)
        elif shards:
            rows = _read_shards(shards)
        elif isinstance(source, str) and not path.exists() and looks_like_hub_id(source):
            streamed = limit is not None
            rows = (
                SourceRow(values, index, source)
                for index, values in enumerate(hub_rows(source, config, split, streamed=streamed))
            )
        else:
            raise DataError(_missing(path), file=str(path))
    else:
        rows, where = _in_memory(source), type(source).__name__
    found = list(islice(rows, limit))
    if not found:
        raise DataError("expected at least one row, found none", file=where)
    return found


def _shards(folder: Path, split: str, config: str | None) -> list[Path]:
    """The files of `split` in a local copy of a hub data set, in order."""
    name = re.compile(rf"{re.escape(split)}-\d+-of-\d+(?:-\w+)?\.(?:parquet|jsonl|json)")
    places = [folder / config] if config else []
    for place in [*places, folder, folder / "data"]:
        found = sorted(path for path in place.glob(f"{split}-*") if name.fullmatch(path.name))
        if found:
            return found
    return []


def _read_shards(files: list[Path]) -> Iterator[SourceRow]:
    index = 0
    for path in files:
        for row in _read_file(path):
            yield SourceRow(row.values, index, row.file, row.line)
            index += 1


def _missing(path: Path) -> str:
    if path.is_dir():
        files = sorted(p.name for p in path.iterdir() if p.suffix in READERS)
        return (
            f"is a folder; name one of its files ({', '.join(files) or 'none is .jsonl, .json or .parquet'})"
        )
    near = did_you_mean(path.name, [p.name for p in path.parent.iterdir()]) if path.parent.is_dir() else ""
    return f"no such file (working folder: {Path.cwd()}).{near}"


def _in_memory(source: Iterable[Any]) -> Iterator[SourceRow]:
    if isinstance(source, Mapping):
        raise DataError(
            "expected a list of rows, got one mapping; from a DatasetDict choose a split, as in data['train']"
        )
    for index, row in enumerate(source):
        if not isinstance(row, Mapping):
            raise DataError(
                f"row {index + 1}: expected a mapping of column to value, got {type(row).__name__}"
            )
        yield SourceRow(dict(row), index)


def _read_file(path: Path) -> Iterator[SourceRow]:
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise DataError(
            f"unknown kind of file '{path.suffix}'; expected one of {', '.join(READERS)}", file=str(path)
        )
    return reader(path)


def _read_jsonl(path: Path) -> Iterator[SourceRow]:
    index = 0
    with open(path, "rb") as file:
        for number, raw in enumerate(file, start=1):
            if not raw.strip():
                continue
            try:
                values = json.loads(raw)
            except (UnicodeDecodeError, json.JSONDecodeError) as error:
                raise DataError(
                    f"expected one JSON object on the line: {error}; the line begins {_shown(raw)}",
                    file=str(path),
                    line=number,
                ) from error
            yield _row(values, index, path, number)
            index += 1


def _read_json(path: Path) -> Iterator[SourceRow]:
    """A JSON array of objects, decoded element by element so that each knows its line."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"expected UTF-8 text: {error}", file=str(path)) from error
    decoder = json.JSONDecoder()
    position, line, counted, index = _skip_space(text, 0), 1, 0, 0

    def line_at(target: int) -> int:
        nonlocal line, counted
        line, counted = line + text.count("\n", counted, target), target
        return line

    if text[position : position + 1] == "{" and "\n{" in text:
        raise DataError(
            "expected a JSON array of objects; this looks like JSON lines: rename it to .jsonl",
            file=str(path),
            line=1,
        )
    if text[position : position + 1] != "[":
        raise DataError(
            "expected a JSON array of objects ('[' first)", file=str(path), line=line_at(position)
        )
    position = _skip_space(text, position + 1)
    while text[position : position + 1] != "]":
        start = line_at(position)
        try:
            values, position = decoder.raw_decode(text, position)
        except json.JSONDecodeError as error:
            raise DataError(
                f"expected a JSON object as element {index + 1} of the array: {error.msg} "
                f"(column {error.colno})",
                file=str(path),
                line=error.lineno,
            ) from error
        yield _row(values, index, path, start)
        index += 1
        position = _skip_space(text, position)
        if text[position : position + 1] == ",":
            position = _skip_space(text, position + 1)
        elif text[position : position + 1] != "]":
            raise DataError(
                f"expected ',' or ']' after element {index} of the array",
                file=str(path),
                line=line_at(position),
            )


def _read_parquet(path: Path) -> Iterator[SourceRow]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise ConfigError(
            f"{path}: reading parquet needs the optional package pyarrow: pip install 'ptagrpo[data]', "
            "or convert the file to JSONL"
        ) from error
    index = 0
    try:
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=1000):
                for values in batch.to_pylist():
                    yield SourceRow(values, index, str(path))
                    index += 1
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"expected a parquet file: {error}", file=str(path)) from error


READERS = {".jsonl": _read_jsonl, ".ndjson": _read_jsonl, ".json": _read_json, ".parquet": _read_parquet}


def _row(values: Any, index: int, path: Path, line: int) -> SourceRow:
    if not isinstance(values, dict):
        raise DataError(f"expected a JSON object, got {type(values).__name__}", file=str(path), line=line)
    return SourceRow(values, index, str(path), line)


_SPACE = re.compile(r"[ \t\r\n]*")


def _skip_space(text: str, position: int) -> int:
    return _SPACE.match(text, position).end()


def _shown(raw: bytes, limit: int = 60) -> str:
    text = raw.decode("utf-8", "backslashreplace").strip()
    return repr(text if len(text) <= limit else text[:limit] + "…")
