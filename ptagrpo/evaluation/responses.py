"""Grade a file of responses that were made elsewhere: the same rows come out with `extracted` and
`status`."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from ..answers import STATUSES, Judge
from ..benchmarks.base import text_answer
from ..errors import ConfigError, DataError
from ..io import fsync_directory, read_jsonl_numbered
from .intervals import clustered_interval
from .result import interval_dict

BATCH_RESPONSES = 256


def grade_responses_file(
    responses: str | os.PathLike,
    output: str | os.PathLike,
    *,
    kind: str = "math",
    judge: Judge | None = None,
    timeout: float = 5.0,
    num_workers: int = 1,
    progress: bool = False,
) -> dict[str, Any]:
    """Judge every response of a JSONL file and write the rows with their verdicts.

    Args:
        responses: rows `{id?, question?, answer, response | responses}`: `answer` is text or a number,
            `response` a text, `responses` a list of texts. Further columns are kept.
        output: gets the same rows in the same order with `extracted` and `status` (lists where the row has
            `responses`).
            It is written beside and renamed at the end: it appears whole or not at all.
        kind: "math" or "exact" (see `ptagrpo.answers.Judge`).
        judge: used and left open; None: one is made with `timeout` (seconds a comparison) and `num_workers`.
        progress: show a bar.

    Returns:
        {"n": responses judged, "questions", "correct", "accuracy" (mean over questions, in [0, 1]),
        "statuses": {status: count}, "interval": 95 %, clustered by question}. Rows of the same `id` (else
        the same `question`) are one question; a row without either is its own.

    Raises:
        DataError: a malformed line or row (file and line are named), no rows, no such file. Nothing is
            written then.
        ConfigError: `output` is the input file.   GradingError: the worker cannot be started.
    """
    source, target = Path(responses), Path(output)
    if not source.is_file():
        raise DataError(f"no such file of responses (working folder: {Path.cwd()})", file=str(source))
    if target.exists() and target.samefile(source):
        raise ConfigError(f"output {target} is the file of responses itself; name another file")
    if not target.parent.is_dir():
        raise ConfigError(f"output {target}: there is no folder {target.parent}")
    from tqdm.auto import tqdm

    tally = _Tally()
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    owned = Judge(timeout=timeout, num_workers=num_workers) if judge is None else None
    try:
        with (
            open(temporary, "wb") as file,
            tqdm(desc="grading", unit="response", disable=not progress) as bar,
        ):
            for batch in _batches(source):
                _grade_batch(batch, (owned or judge), kind, file, tally)  # type: ignore[arg-type]
                bar.update(sum(len(texts) for _, _, texts in batch))
            if not tally.statuses:
                raise DataError("expected at least one row with a response, found none", file=str(source))
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    finally:
        if owned is not None:
            owned.close()
    fsync_directory(target.parent)
    return tally.summary()


class _Tally:
    def __init__(self) -> None:
        self.statuses: Counter[str] = Counter()
        self.values: list[float] = []
        self.clusters: list[tuple[str, Any]] = []

    def add(self, cluster: tuple[str, Any], statuses: list[str]) -> None:
        self.statuses.update(statuses)
        self.values.extend(float(status == "correct") for status in statuses)
        self.clusters.extend([cluster] * len(statuses))

    def summary(self) -> dict[str, Any]:
        interval = clustered_interval(self.values, self.clusters)
        return {
            "n": len(self.values),
            "questions": interval.clusters,
            "correct": self.statuses["correct"],
            "accuracy": interval.mean,
            "statuses": {status: self.statuses[status] for status in STATUSES},
            "interval": interval_dict(interval),
        }


_Item = tuple[dict[str, Any], tuple[str, Any], list[str]]


def _batches(source: Path) -> Iterator[list[_Item]]:
    batch: list[_Item] = []
    count = 0
    for line, row in read_jsonl_numbered(source):
        try:
            texts = _texts(row)
            text_answer(row.get("answer"))
        except ValueError as error:
            raise DataError(str(error), file=str(source), line=line) from error
        named = next(
            ((name, str(row[name])) for name in ("id", "question") if row.get(name) is not None), None
        )
        batch.append((row, named or ("line", line), texts))
        count += len(texts)
        if count >= BATCH_RESPONSES:
            yield batch
            batch, count = [], 0
    if batch:
        yield batch


def _texts(row: dict[str, Any]) -> list[str]:
    if ("response" in row) == ("responses" in row):
        raise ValueError(f"expected either 'response' or 'responses', the row has {sorted(row)}")
    if "response" in row:
        if not isinstance(row["response"], str):
            raise ValueError(f"expected text in 'response', got {type(row['response']).__name__}")
        return [row["response"]]
    texts = row["responses"]
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
        raise ValueError("expected a list of one or more texts in 'responses'")
    return texts


def _grade_batch(batch: list[_Item], judge: Judge, kind: str, file: IO[bytes], tally: _Tally) -> None:
    pairs = [(text, text_answer(row["answer"])) for row, _, texts in batch for text in texts]
    verdicts = iter(judge.judge(pairs, kind))
    for row, cluster, texts in batch:
        own = [next(verdicts) for _ in texts]
        single = "response" in row
        row["extracted"] = own[0].extracted if single else [verdict.extracted for verdict in own]
        row["status"] = own[0].status if single else [verdict.status for verdict in own]
        tally.add(cluster, [verdict.status for verdict in own])
        file.write(_json_line(row))


def _json_line(row: dict[str, Any]) -> bytes:
    try:
        return json.dumps(row, ensure_ascii=False).encode("utf-8") + b"\n"
    except UnicodeEncodeError:  # half of a surrogate pair, which JSON can escape and UTF-8 cannot hold
        return json.dumps(row).encode("ascii") + b"\n"
