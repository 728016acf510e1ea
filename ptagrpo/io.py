"""Files that are either there in full or not there at all, and JSON lines with line numbers in their errors."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from .errors import DataError


def fsync_directory(path: str | os.PathLike) -> None:
    """Make renames and new names in the folder `path` durable (a no-op where folders cannot be opened)."""
    try:
        fd = os.open(path, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def atomic_write_bytes(path: str | os.PathLike, data: bytes, *, sync: bool = True) -> None:
    """Write `data` to `path` so that a reader (or a crash) sees the old file or the new one, never a part.

    sync: False: as quick as a plain write; still whole after a killed process, but not after a power cut.

    Raises:
        OSError: the disk is full or not writable; `path` is then as it was and no temporary file stays behind.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            if sync:
                os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if sync:
        fsync_directory(path.parent)


def atomic_write_text(path: str | os.PathLike, text: str) -> None:
    """`atomic_write_bytes` for UTF-8 text."""
    atomic_write_bytes(path, text.encode("utf-8"))


def atomic_write_json(path: str | os.PathLike, value: Any, *, indent: int | None = 2) -> None:
    """Write `value` as UTF-8 JSON with a trailing newline, atomically."""
    atomic_write_text(path, json.dumps(value, ensure_ascii=False, indent=indent) + "\n")


def json_bytes(value: Any) -> bytes:
    """A value as a JSON file has it, for people to read: indented, UTF-8, a line end last."""
    return (json.dumps(value, ensure_ascii=False, indent=2) + "\n").encode("utf-8")


def read_jsonl(path: str | os.PathLike) -> Iterator[dict[str, Any]]:
    """Yield the objects of a JSON-lines file; empty lines are skipped.

    Raises:
        DataError: a line is not valid UTF-8 JSON or not an object; names the file and the line.
    """
    return (row for _, row in read_jsonl_numbered(path))


def read_jsonl_numbered(path: str | os.PathLike) -> Iterator[tuple[int, dict[str, Any]]]:
    """As `read_jsonl`, with the number of each line (1-based), for errors about what a row says."""
    with open(path, "rb") as file:
        for number, raw in enumerate(file, start=1):
            if not raw.strip():
                continue
            try:
                row = json.loads(raw)
            except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
                raise DataError(f"not a JSON line: {error}", file=str(path), line=number) from error
            if not isinstance(row, dict):
                raise DataError(
                    f"expected a JSON object, got {type(row).__name__}", file=str(path), line=number
                )
            yield number, row


def write_jsonl(path: str | os.PathLike, rows: Iterable[dict[str, Any]]) -> None:
    """Write `rows` as JSON lines, atomically."""
    atomic_write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def append_jsonl(path: str | os.PathLike, rows: Iterable[dict[str, Any]], *, sync: bool = True) -> None:
    """Append `rows` in one write, so that a killed process leaves at most one broken line, the last one."""
    data = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode("utf-8")
    with open(path, "ab") as file:
        file.write(data)
        file.flush()
        if sync:
            os.fsync(file.fileno())


def read_jsonl_tolerant(path: str | os.PathLike) -> list[dict[str, Any]]:
    """Read an append-only JSONL log, cutting off a last line that a killed writer left unfinished.

    The file itself is truncated to its last whole line, so that appending goes on cleanly. A missing file reads as
    no rows. A broken line that is *not* the last one is an error (see `read_jsonl`).
    """
    path = Path(path)
    if not path.exists():
        return []
    data = path.read_bytes()
    whole = data.rfind(b"\n") + 1
    if whole != len(data):
        os.truncate(path, whole)
    return list(read_jsonl(path))


def sha256_file(path: str | os.PathLike) -> str:
    """Hex SHA-256 of a file's bytes."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def sha256_json(value: Any) -> str:
    """Hex SHA-256 of a JSON value in canonical form (sorted keys, no spaces): a stable fingerprint of settings."""
    text = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8")).hexdigest()
