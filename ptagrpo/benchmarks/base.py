"""What a benchmark is: where its rows come from, what a good row looks like, how a model is asked."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..answers import normalize_answer
from ..errors import ConfigError, DataError
from ..io import read_jsonl_numbered
from ..records import Messages, Question

INSTRUCTION = "Please reason step by step, and put your final answer within \\boxed{}."
Row = Mapping[str, Any]


@dataclass(frozen=True)
class BenchmarkSpec:
    """One benchmark, as its file in this folder describes it.

    name: as users write it. title: as people read it. file: below the data folder (variable PTAGRPO_DATA).
    hub_id, hub_split: where `datasets` finds it. rows: how many there must be (None: any number).
    id_columns, prompt_columns: the first one that a row has counts. answer: from the raw value to the
    reference answer; raises ValueError. group_columns: worth a table of their own in a report.
    """

    name: str
    title: str
    file: str
    hub_id: str
    hub_split: str
    rows: int | None
    answer: Callable[[Any], str]
    id_columns: tuple[str, ...] = ("id",)
    prompt_columns: tuple[str, ...] = ("problem", "question")
    group_columns: tuple[str, ...] = ()


@dataclass(frozen=True)
class Benchmark:
    """The questions of a benchmark, checked and with normalised reference answers."""

    name: str
    questions: list[Question]
    title: str = ""
    group_columns: tuple[str, ...] = ()
    source: str = ""
    metric: str = "accuracy, mean over the samples of each question"
    kind: str = field(default="math")

    def official_prompt(self, question: Question) -> Messages:
        """The question as chat messages, in the manner of Qwen2.5-Math's evaluation."""
        return official_messages(question.prompt)


def official_messages(prompt: str | Messages) -> Messages:
    """The step-by-step instruction as the system's turn and the question as the user's.

    >>> official_messages("1+1?")[1]
    {'role': 'user', 'content': '1+1?'}
    """
    turns = (
        [{"role": "user", "content": prompt}] if isinstance(prompt, str) else [dict(turn) for turn in prompt]
    )
    if turns and turns[0].get("role") == "system":
        turns[0]["content"] = f"{turns[0]['content']}\n{INSTRUCTION}"
        return turns
    return [{"role": "system", "content": INSTRUCTION}, *turns]


def text_answer(value: Any) -> str:
    """A reference answer that is any mathematics, or a number: as written."""
    if isinstance(value, str) and value.strip():
        return value.strip()
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return number_answer(value)
    raise ValueError(f"expected an answer as text or a number, got {value!r:.80}")


def number_answer(value: Any) -> str:
    """A reference answer that is a number: 27.0 gives "27".

    >>> number_answer(27.0), number_answer("-0.50")
    ('27', '-1/2')
    """
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"expected a finite number, got {value}")
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ValueError(f"expected a number, got {value!r:.80}")
    text = normalize_answer(repr(value) if isinstance(value, float) else str(value))
    if not text.lstrip("-").replace("/", "", 1).isdigit():
        raise ValueError(f"expected a number, got {value!r:.80}")
    return text


def aime_answer(value: Any) -> str:
    """A reference answer of AIME, an integer from 0 to 999, without the leading zeros of its file.

    >>> aime_answer("033")
    '33'
    """
    text = number_answer(value)
    if "/" in text or not 0 <= int(text) <= 999:
        raise ValueError(f"expected an integer from 0 to 999, got {value!r:.80}")
    return text


def locate(spec: BenchmarkSpec, path: str | os.PathLike | None) -> Path | None:
    """The local file to read, or None for the hub.

    Raises:
        DataError: `path` is given but there is no such file, or no such file in that folder.
    """
    if path is not None:
        given = Path(path)
        for candidate in (given, given / Path(spec.file).name, given / spec.file):
            if candidate.is_file():
                return candidate
        inside = f" and no {Path(spec.file).name} in that folder" if given.is_dir() else ""
        raise DataError(f"benchmark '{spec.name}': no such file{inside}", file=str(given))
    folder = os.environ.get("PTAGRPO_DATA")
    if folder:
        candidate = Path(folder) / spec.file
        if candidate.is_file():
            return candidate
    return None


def hub_rows(spec: BenchmarkSpec) -> Iterable[tuple[int, Row]]:
    """Numbered rows (1-based) from the hub.

    Raises:
        ConfigError: `datasets` is not installed.   DataError: the hub cannot be reached, or lacks the set.
    """
    try:
        import datasets
    except ImportError as error:
        raise ConfigError(
            f"benchmark '{spec.name}': reading {spec.hub_id} from the hub needs the package 'datasets': "
            f"pip install 'ptagrpo[data]'. Or give a local file with path=, or a folder that has "
            f"{spec.file} in the "
            "variable PTAGRPO_DATA."
        ) from error
    try:
        rows = list(datasets.load_dataset(spec.hub_id, split=spec.hub_split))
    except Exception as error:  # the library raises a dozen kinds, from no network to no such set
        raise DataError(
            f"benchmark '{spec.name}': cannot be loaded from the hub ({type(error).__name__}: {error}). "
            "Without a "
            f"network give a local file with path=, or a folder that has {spec.file} in the variable "
            "PTAGRPO_DATA.",
            file=spec.hub_id,
        ) from error
    return enumerate(rows, start=1)


def read_benchmark(spec: BenchmarkSpec, path: str | os.PathLike | None = None) -> Benchmark:
    """Read and check the rows of a benchmark.

    Raises:
        DataError: a malformed row (file and line), a repeated id, a wrong number of rows, no such file.
        ConfigError: the hub is needed and `datasets` is not installed.
    """
    file = locate(spec, path)
    where = str(file) if file is not None else spec.hub_id
    numbered = read_jsonl_numbered(file) if file is not None else hub_rows(spec)
    questions: list[Question] = []
    lines: dict[str, int] = {}
    for number, row in numbered:
        try:
            question = _question(spec, row, number)
        except ValueError as error:
            raise DataError(f"benchmark '{spec.name}': {error}", file=where, line=number) from error
        if question.id in lines:
            raise DataError(
                f"benchmark '{spec.name}': id {question.id!r} was already in line {lines[question.id]}",
                file=where, line=number,
            )  # fmt: skip
        lines[question.id] = number
        questions.append(question)
    if spec.rows is not None and len(questions) != spec.rows:
        raise DataError(
            f"benchmark '{spec.name}' has {spec.rows} questions, this has {len(questions)}: it is "
            "incomplete or another set",
            file=where,
        )
    if not questions:
        raise DataError(f"benchmark '{spec.name}': no questions", file=where)
    return Benchmark(spec.name, questions, spec.title, spec.group_columns, where)


def _question(spec: BenchmarkSpec, row: Row, number: int) -> Question:
    prompt_column = next((name for name in spec.prompt_columns if row.get(name)), None)
    if prompt_column is None:
        raise ValueError(
            f"expected a question in {' or '.join(spec.prompt_columns)}, the row has {sorted(row)}"
        )
    prompt = row[prompt_column]
    if not isinstance(prompt, str) or not prompt.strip():
        raise ValueError(f"expected text in '{prompt_column}', got {prompt!r:.80}")
    if row.get("answer") is None:
        raise ValueError(f"expected an answer in 'answer', the row has {sorted(row)}")
    answer = spec.answer(row["answer"])
    identity = next((row[name] for name in spec.id_columns if row.get(name) is not None), None)
    if identity is None and spec.rows is not None:
        raise ValueError(f"expected an id in {' or '.join(spec.id_columns)}, the row has {sorted(row)}")
    columns = {name: value for name, value in row.items() if name != prompt_column}
    return Question(str(number if identity is None else identity), prompt, answer, columns)
