"""Finished replies on disk: append-only JSON lines, keyed by a hash of the request.

A reply is on the disk (fsync) before it counts as finished. Whatever the moment of a kill, at most the line
being written is lost; it is cut off when the cache is opened again. A killed run goes on from here.
"""

from __future__ import annotations

import os
import threading
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..errors import ConfigError, DataError
from ..io import append_jsonl, read_jsonl_tolerant, sha256_json

try:
    import fcntl
except ImportError:  # no advisory locks here: two runs must not share a cache, and nobody checks
    fcntl = None


@dataclass(frozen=True)
class Reply:
    """One reply of a teacher. Token counts are None where the endpoint does not tell.

    finish_reason: "stop", "length" (cut off at the token limit) or whatever else the endpoint says.
    """

    text: str
    finish_reason: str
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


def request_key(messages: list[dict[str, Any]], model: str, params: dict[str, Any]) -> str:
    """Hex SHA-256 of everything that decides a reply. No address, no key: a cache moves between endpoints."""
    return sha256_json({"messages": messages, "model": model, "params": params})


class ReplyCache:
    """Replies by request key, in the file `path` (None: in memory only). Safe to `put` from several threads.

    One process at a time holds the file (an advisory lock, released even by `kill -9`).

    Raises:
        ConfigError: another process holds the cache.
        DataError: a line other than the last is damaged; names file and line.
    """

    def __init__(self, path: str | os.PathLike | None):
        self.path = None if path is None else Path(path)
        self._replies: dict[str, Reply] = {}
        self._mutex = threading.Lock()
        self._held = None
        if self.path is None:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._held = open(self.path, "ab")
        if fcntl is not None:
            try:
                fcntl.flock(self._held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                self._held.close()
                raise ConfigError(
                    f"{self.path}: another process is writing this cache; wait for it or name another"
                ) from error
        try:
            self._load()
        except BaseException:
            self._held.close()
            raise

    def _load(self) -> None:
        for number, row in enumerate(read_jsonl_tolerant(self.path), start=1):
            try:
                key = row["key"]
                self._replies[key] = Reply(**{name: row[name] for name in Reply.__dataclass_fields__})
            except KeyError as error:
                raise DataError(
                    f"entry {number} of the cache lacks {error}: this is not a cache of distillation, or a "
                    "damaged one; name another file, or remove that line",
                    file=str(self.path),
                ) from error

    def __enter__(self) -> ReplyCache:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __len__(self) -> int:
        return len(self._replies)

    def close(self) -> None:
        """Let go of the file. Everything is on disk already."""
        if self._held is not None:
            self._held.close()
            self._held = None

    def get(self, key: str) -> Reply | None:
        """The reply to the request `key`, or None."""
        return self._replies.get(key)

    def put(self, key: str, model: str, reply: Reply) -> None:
        """Write a finished reply to disk, then remember it."""
        with self._mutex:
            if key in self._replies:
                return
            if self.path is not None:
                append_jsonl(self.path, [{"key": key, "model": model, **asdict(reply)}])
            self._replies[key] = reply
