"""Do training questions occur in the benchmarks? Word n-gram overlap, the measure of the field, with a report.

A training question is contaminated where it shares an n-gram of `n` words with a benchmark's question (13 by
default); a question of fewer words is compared as a whole. `docs/data.md` has the method and what it finds.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .. import benchmarks
from ..errors import ConfigError, DataError
from ..io import atomic_write_json
from ..records import Question
from .columns import PROMPT_COLUMNS, first_column, is_messages
from .loading import from_the_hub
from .ngrams import NgramIndex, shared_run
from .readers import Source

MODES = ("auto", "check", "drop", "off")
REPORT = "contamination.json"


@dataclass(frozen=True)
class Overlap:
    """A training question and the benchmark question that it overlaps.

    row: 0-based place among the training questions. shared: distinct n-grams in common. overlap: their share of
    the benchmark question's n-grams, from above 0 to 1. words: the longest common run.
    """

    row: int
    id: str
    benchmark: str
    question_id: str
    shared: int
    overlap: float
    words: str


@dataclass
class ContaminationReport:
    """What the comparison found.

    checked: questions of each benchmark that was compared. unchecked: benchmark → why it was not. overlaps: in
    the order of the training questions, the largest first within one.
    """

    n: int
    min_overlap: float
    questions: int
    checked: dict[str, int] = field(default_factory=dict)
    unchecked: dict[str, str] = field(default_factory=dict)
    overlaps: list[Overlap] = field(default_factory=list)

    @property
    def rows(self) -> list[int]:
        """The contaminated training questions, in order, each once."""
        return sorted({overlap.row for overlap in self.overlaps})

    def by_benchmark(self) -> dict[str, dict[str, int]]:
        """For each checked benchmark: its questions, how many of them are in the training data, and how many
        training questions they touch."""
        return {
            name: {
                "questions": count,
                "found_in_training": len({o.question_id for o in self.overlaps if o.benchmark == name}),
                "training_questions": len({o.row for o in self.overlaps if o.benchmark == name}),
            }
            for name, count in self.checked.items()
        }

    def reasons(self) -> dict[int, str]:
        """Contaminated training question → where it occurs, in words."""
        counts, told = Counter(overlap.row for overlap in self.overlaps), {}
        for o in self.overlaps:
            more = f" and {counts[o.row] - 1} more" if counts[o.row] > 1 else ""
            told.setdefault(
                o.row, f"it overlaps a benchmark (question {o.question_id} of {o.benchmark}{more})"
            )
        return told

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON values."""
        return {
            "n": self.n,
            "min_overlap": self.min_overlap,
            "training_questions": self.questions,
            "contaminated": len(self.rows),
            "benchmarks": self.by_benchmark(),
            "not_checked": self.unchecked,
            "overlaps": [vars(overlap) for overlap in self.overlaps],
        }

    def lines(self) -> list[str]:
        """The report in a few lines of text."""
        told = [
            f"{len(self.rows)} of {self.questions} training questions share {self.n} words in a row with a "
            "benchmark's question"
            if self.min_overlap == 0
            else f"{len(self.rows)} of {self.questions} training questions share {self.min_overlap:.0%} or more "
            f"of the runs of {self.n} words of a benchmark's question"
        ]
        told += [
            f"  {name}: {counts['training_questions']} training questions, touching "
            f"{counts['found_in_training']} of its {counts['questions']}"
            for name, counts in self.by_benchmark().items()
        ]
        return told + [f"  {name}: not checked ({why})" for name, why in self.unchecked.items()]


def question_text(item: Any) -> str:
    """The words of a question: a `Question`, a row with a prompt column, chat messages, or text.

    >>> question_text({"question": "1+1?"}), question_text([{"role": "user", "content": "2+2?"}])
    ('1+1?', '2+2?')
    """
    if isinstance(item, Question):
        return question_text(item.prompt)
    if isinstance(item, Mapping):
        name = first_column(item, (*PROMPT_COLUMNS, "messages", "text"))
        return question_text(item[name]) if name is not None else ""
    if is_messages(item):
        return "\n".join(_content(turn["content"]) for turn in item if turn["role"] == "user")
    return item if isinstance(item, str) else ""


def _content(content: Any) -> str:
    if isinstance(content, (list, tuple)):
        return "\n".join(str(part.get("text", "")) for part in content if isinstance(part, Mapping))
    return str(content)


def check_contamination(
    questions: Sequence[Any],
    against: Iterable[str] | None = None,
    *,
    n: int = 13,
    min_overlap: float = 0.0,
    data_path: str | os.PathLike | None = None,
    progress: bool = False,
) -> ContaminationReport:
    """Compare training questions with the questions of benchmarks.

    Args:
        questions: see `question_text`.
        against: names of benchmarks, or JSONL files of questions; None: all benchmarks that there are.
        n: words of an n-gram.
        min_overlap: report a pair only if it shares at least this part of the benchmark question's n-grams; 0: one
            is enough.
        data_path: folder of the benchmarks' files; None: as `ptagrpo.benchmarks.load` finds them.
        progress: show a bar.

    Returns:
        The report; a benchmark whose data is not at hand is named in its `unchecked`.

    Raises:
        ConfigError: an unknown benchmark, or a setting out of range.
    """
    if n < 1 or not 0.0 <= min_overlap <= 1.0:
        raise ConfigError(
            f"contamination: expected n >= 1 and min_overlap from 0 to 1, got {n} and {min_overlap}"
        )
    report = ContaminationReport(n, min_overlap, len(questions))
    index, entries = NgramIndex(n), []
    for benchmark in _at_hand(
        benchmarks.names() if against is None else against, data_path, report.unchecked
    ):
        report.checked[benchmark.name] = len(benchmark.questions)
        for question in benchmark.questions:
            index.add(question_text(question))
            entries.append((benchmark.name, question))
    from tqdm.auto import tqdm

    for row, item in enumerate(tqdm(questions, desc="contamination", unit="question", disable=not progress)):
        text = question_text(item)
        for match in index.find(text):
            if match.overlap < min_overlap:
                continue
            name, question = entries[match.key]
            words = shared_run(text, question_text(question), n)
            report.overlaps.append(
                Overlap(row, _id_of(item, row), name, question.id, match.shared, match.overlap, words)
            )
    return report


def _at_hand(
    names: Iterable[str], data_path: str | os.PathLike | None, unchecked: dict[str, str]
) -> Iterator[benchmarks.Benchmark]:
    """The benchmarks that can be loaded; of the others `unchecked` is told why. A hub that could not be reached
    once is not asked again: each attempt takes long."""
    unreachable = ""
    for name in names:
        spec = None if str(name).endswith((".jsonl", ".py")) else benchmarks.find(name)
        if spec is not None and unreachable and not benchmarks.at_hand(spec, data_path):
            unchecked[name] = unreachable
            continue
        try:
            yield benchmarks.load(name, data_path)
        except (ConfigError, DataError) as error:
            unchecked[name] = str(error)
            if isinstance(error.__cause__, ConnectionError):
                unreachable = "the hub cannot be reached, and its data is not here"


def _id_of(item: Any, row: int) -> str:
    name = item.id if isinstance(item, Question) else item.get("id") if isinstance(item, Mapping) else None
    return str(row if name is None else name)


def effective_mode(mode: str, source: Source) -> str:
    """ "check", "drop" or "off": what `mode` means for data from `source` ("auto" checks the hub's data sets).

    Raises:
        ConfigError: an unknown mode.

    >>> effective_mode("auto", "openai/gsm8k"), effective_mode("auto", [{"question": "1+1?"}])
    ('check', 'off')
    """
    if mode not in MODES:
        raise ConfigError(f"contamination: got '{mode}', expected one of {', '.join(MODES)}")
    if mode != "auto":
        return mode
    return "check" if from_the_hub(source) else "off"


def screen(
    items: Sequence[Any],
    source: Source,
    mode: str,
    *,
    folder: str | os.PathLike,
    progress: bool = False,
    say: Callable[[str], None] | None = None,
) -> list[Any]:
    """What is done before training on `items`, read from `source`: compare, report, and leave out if asked to.

    Args:
        mode: "check" reports; "drop" also leaves out contaminated rows; "off" does nothing; "auto" is "check" for
            the data sets of the hub and "off" for a user's own.
        folder: where the report `contamination.json` is written.
        say: called with each line of the report.

    Returns:
        The items to train on.

    Raises:
        ConfigError: an unknown mode.   DataError: nothing is left.
    """
    mode = effective_mode(mode, source)
    if mode == "off":
        return list(items)
    report = check_contamination(items, progress=progress)
    contaminated = set(report.rows) if mode == "drop" else set()
    kept = [item for row, item in enumerate(items) if row not in contaminated]
    Path(folder).mkdir(parents=True, exist_ok=True)
    atomic_write_json(Path(folder, REPORT), {**report.to_dict(), "left_out": len(contaminated)})
    told = [*report.lines(), *([f"  {len(contaminated)} are left out"] if contaminated else [])]
    for line in told if say is not None else ():
        say(line)
    if not kept:
        raise DataError("every row is contaminated: nothing is left to train on")
    return kept
