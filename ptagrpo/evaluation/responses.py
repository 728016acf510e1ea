"""Grade a file of responses that were made elsewhere: the same rows come out with `extracted` and
`status`."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from ..answers import STATUSES, Judge
from ..benchmarks import BenchmarkSpec, load, spec_of, text_answer, to_question
from ..errors import ConfigError, DataError
from ..io import fsync_directory, read_jsonl_numbered
from ..records import Question
from .grading import Grader
from .intervals import balanced_interval, cluster_means
from .result import interval_dict

BATCH_RESPONSES = 256
NOT_GIVEN = "(the question is not given)"


def grade_responses_file(
    responses: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    benchmark: str | os.PathLike[str] | None = None,
    official: bool = False,
    data_path: str | os.PathLike[str] | None = None,
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
        benchmark: whose responses they are (see `benchmarks.load`): rows are read and graded as its own. A row with
            an `answer` brings the columns of its question itself (`options` ...); one without is looked up in the
            benchmark's data by its `id`. None: mathematics, and each row has an `answer`.
        official: grade by the benchmark's published rule, guesses included, where it has one of its own. The guesses
            are drawn in the order of the rows.
        data_path: where the benchmark's data is (see `benchmarks.load`).
        kind: "math" or "exact" (see `ptagrpo.answers.Judge`).
        judge: used and left open; None: one is made with `timeout` (seconds a comparison) and `num_workers`.
        progress: show a bar.

    Returns:
        {"n": responses judged, "questions", "correct", "accuracy" (mean over questions, in [0, 1]),
        "statuses": {status: count}, "interval": 95 %, clustered by question}. Rows of the same `id` (else
        the same `question`) are one question; a row without either is its own. For a balanced benchmark
        (MMMU-Pro) "parts": {part: accuracy}, and the accuracy is their mean.

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

    spec = None if benchmark is None else spec_of(benchmark)
    tally = _Tally()
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    owned = Judge(timeout=timeout, num_workers=num_workers) if judge is None else None
    grader = Grader(spec, judge or owned, kind, official)  # type: ignore[arg-type]
    questions = _Questions(benchmark, spec, data_path)
    try:
        with (
            open(temporary, "wb") as file,
            tqdm(desc="grading", unit="response", disable=not progress) as bar,
        ):
            for batch in _batches(source, questions):
                _grade_batch(batch, grader, file, tally)
                bar.update(sum(len(item.texts) for item in batch))
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


@dataclass
class _Item:
    row: dict[str, Any]
    question: Question
    cluster: tuple[str, Any]
    part: str
    texts: list[str]


class _Tally:
    def __init__(self) -> None:
        self.statuses: Counter[str] = Counter()
        self.values: dict[str, list[float]] = {}
        self.clusters: dict[str, list[tuple[str, Any]]] = {}

    def add(self, item: _Item, statuses: list[str]) -> None:
        self.statuses.update(statuses)
        self.values.setdefault(item.part, []).extend(float(status == "correct") for status in statuses)
        self.clusters.setdefault(item.part, []).extend([item.cluster] * len(statuses))

    def summary(self) -> dict[str, Any]:
        names = sorted(self.values)
        means = [cluster_means(self.values[name], self.clusters[name]) for name in names]
        interval = balanced_interval([mean.tolist() for mean in means])
        parts = {name: float(mean.mean()) for name, mean in zip(names, means, strict=True) if name}
        return {
            "n": sum(map(len, self.values.values())),
            "questions": interval.clusters,
            "correct": self.statuses["correct"],
            "accuracy": interval.mean,
            **({"parts": parts} if parts else {}),
            "statuses": {status: self.statuses[status] for status in STATUSES},
            "interval": interval_dict(interval),
        }


class _Questions:
    """The question of a row: of its own columns where it has an answer, else of the benchmark's data by its id."""

    def __init__(
        self, name: str | os.PathLike[str] | None, spec: BenchmarkSpec | None, data_path: str | os.PathLike[str] | None
    ):
        self._name = name
        self._spec = spec
        self._data_path = data_path
        self._known: dict[str, Question] | None = None

    def of(self, row: dict[str, Any], line: int) -> tuple[Question, str]:
        """The question, and the part of a balanced benchmark that it belongs to ("" without parts).

        Raises:
            ValueError: what was expected of the row.   DataError, ConfigError: the benchmark's data cannot be read.
        """
        spec = self._spec
        if spec is None:
            return Question(str(line), "", text_answer(row.get("answer"))), ""
        for name, value in spec.where.items():
            if name in row and str(row[name]).casefold() != value.casefold():
                raise ValueError(
                    f"expected {name} '{value}' for benchmark '{spec.name}', got {row[name]!r:.80}"
                )
        if all(row.get(name) is None for name in spec.answer_columns):
            question = self._look_up(row)
        elif spec.parse is None:
            name = next(name for name in spec.answer_columns if row.get(name) is not None)
            question = Question(str(row.get("id", line)), "", spec.answer(row[name]))
        else:
            asked = row if row.get("question") else {**row, "question": NOT_GIVEN}
            question = to_question(spec, asked, line, partial=True, with_images=False)
        return question, "" if spec.balance is None else str(question.columns.get(spec.balance))

    def _look_up(self, row: dict[str, Any]) -> Question:
        assert self._spec is not None and self._name is not None
        names = [str(row[name]) for name in ("id", *self._spec.id_columns) if row.get(name) is not None]
        if not names:
            raise ValueError(f"expected an 'answer', or the 'id' of a question of '{self._spec.name}'")
        if self._known is None:
            data = load(self._name, self._data_path, partial=True)
            self._known = {question.id: question for question in data.questions}
        if self._spec.balance and row.get(self._spec.balance):
            names.append(f"{row[self._spec.balance]}/{names[0]}")
            names.reverse()
        found = next((self._known[name] for name in names if name in self._known), None)
        if found is None:
            raise ValueError(f"'{self._spec.name}' has no question {names[0]!r}, and the row has no 'answer'")
        return found


def _batches(source: Path, questions: _Questions) -> Iterator[list[_Item]]:
    batch: list[_Item] = []
    count = 0
    for line, row in read_jsonl_numbered(source):
        try:
            texts = _texts(row)
            question, part = questions.of(row, line)
        except DataError:
            raise
        except ValueError as error:
            raise DataError(str(error), file=str(source), line=line) from error
        named = next(
            ((name, str(row[name])) for name in ("id", "question") if row.get(name) is not None), None
        )
        batch.append(_Item(row, question, named or ("line", line), part, texts))
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


def _grade_batch(batch: list[_Item], grader: Grader, file: IO[bytes], tally: _Tally) -> None:
    verdicts = iter(grader.grade([(item.question, text) for item in batch for text in item.texts]))
    for item in batch:
        own = [next(verdicts) for _ in item.texts]
        single = "response" in item.row
        item.row["extracted"] = own[0].extracted if single else [verdict.extracted for verdict in own]
        item.row["status"] = own[0].status if single else [verdict.status for verdict in own]
        tally.add(item, [verdict.status for verdict in own])
        file.write(_json_line(item.row))


def _json_line(row: dict[str, Any]) -> bytes:
    try:
        return json.dumps(row, ensure_ascii=False).encode("utf-8") + b"\n"
    except UnicodeEncodeError:  # half of a surrogate pair, which JSON can escape and UTF-8 cannot hold
        return json.dumps(row).encode("ascii") + b"\n"
