"""What came out of an evaluation: per-sample rows, the figures made of them, a table for the terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..answers import STATUSES, normalize_answer
from .intervals import Interval, balanced_interval, clustered_interval
from .passk import majority, pass_at_k
from .prompting import MODES

Row = Mapping[str, Any]


@dataclass
class EvalResult:
    """Rows of one evaluation (question by question, samples in order) and the figures on them.

    name: the benchmark's. title, side: its heading, and the paper's table that it is in. k: samples a question.
    columns: question id → its data-set columns. settings: what was asked for. balance: a column; figures are then
    the mean over its values. notes: what is to be said about the benchmark's rows. Each row has id, sample, answer,
    response, extracted, status, detail, tokens, finish_reason.
    """

    name: str
    k: int
    rows: list[dict[str, Any]]
    settings: dict[str, Any] = field(default_factory=dict)
    columns: dict[str, dict[str, Any]] = field(default_factory=dict)
    group_columns: tuple[str, ...] = ()
    kind: str = "math"
    balance: str | None = None
    notes: tuple[str, ...] = ()
    title: str = ""
    side: str = ""

    def by_question(self) -> dict[str, list[dict[str, Any]]]:
        """The rows of each question, in order."""
        groups: dict[str, list[dict[str, Any]]] = {}
        for row in self.rows:
            groups.setdefault(row["id"], []).append(row)
        return groups

    @property
    def question_accuracies(self) -> dict[str, float]:
        """Share of right samples of each question, by its id."""
        return {key: _right(rows) / len(rows) for key, rows in self.by_question().items()}

    @property
    def accuracy(self) -> float:
        """avg@k: the mean over questions of the share of right samples, in [0, 1]."""
        return self.interval.mean

    @property
    def interval(self) -> Interval:
        """avg@k with its 95 % interval, clustered by question."""
        return self._interval(self.question_accuracies)

    def pass_at(self, k: int) -> Interval:
        """Unbiased pass@k, the mean over questions, with its interval.

        Raises:
            ValueError: k is not from 1 to the number of samples a question.
        """
        return self._interval(
            {key: pass_at_k(len(rows), _right(rows), k) for key, rows in self.by_question().items()}
        )

    def maj(self) -> Interval:
        """maj@k over all k samples (see `passk.majority` for ties), with its interval."""
        values = {}
        for key, rows in self.by_question().items():
            votes: list[Hashable | None] = [
                None if row["extracted"] is None else normalize_answer(row["extracted"], self.kind)
                for row in rows
            ]
            values[key] = majority(votes, [row["status"] == "correct" for row in rows])
        return self._interval(values)

    def _interval(self, values: Mapping[str, float]) -> Interval:
        """The mean of one value per question: over questions, or over the parts of a balanced benchmark."""
        if self.balance is None:
            return clustered_interval(list(values.values()))
        parts: dict[str, list[float]] = {}
        for key, value in values.items():
            parts.setdefault(str(self.columns.get(key, {}).get(self.balance)), []).append(value)
        return balanced_interval([parts[name] for name in sorted(parts)])

    @property
    def figure(self) -> dict[str, Any]:
        """The figure that counts for the way of prompting: {"name": "avg@k" or "maj@k", mean, low, high, ...}."""
        name = self.settings.get("prompting")
        votes = name is not None and MODES[name].votes
        interval = self.maj() if votes else self.interval
        return {"name": f"{'maj' if votes else 'avg'}@{self.k}", **interval_dict(interval)}

    @property
    def statuses(self) -> dict[str, int]:
        """How many samples ended as correct, wrong, no_answer, timeout, error."""
        counts = Counter(row["status"] for row in self.rows)
        return {status: counts.get(status, 0) for status in STATUSES}

    def group_by(self, column: str) -> dict[str, Interval]:
        """avg@k by the value of a data-set column, say "level" of MATH500, sorted by value.

        Raises:
            ValueError: no question has that column.
        """
        groups: dict[str, list[float]] = {}
        for key, accuracy in self.question_accuracies.items():
            if column in self.columns.get(key, {}):
                groups.setdefault(str(self.columns[key][column]), []).append(accuracy)
        if not groups:
            known = sorted({name for columns in self.columns.values() for name in columns})
            raise ValueError(
                f"group_by: no question has a column {column!r}; there are {', '.join(known) or 'none'}"
            )
        return {value: clustered_interval(groups[value]) for value in sorted(groups)}

    def pass_ks(self) -> list[int]:
        """The powers of two up to k, and k: for which pass@k is reported."""
        ks = [1 << i for i in range(self.k.bit_length()) if 1 << i <= self.k]
        return ks if ks[-1] == self.k else [*ks, self.k]

    def summary(self) -> dict[str, Any]:
        """All figures as a plain dict, for JSON. Shares are in [0, 1], lengths in tokens."""
        tokens = [row["tokens"] for row in self.rows]
        length = sum(row["finish_reason"] == "length" for row in self.rows)
        return {
            "benchmark": self.name,
            "questions": len(self.by_question()),
            "samples": len(self.rows),
            "k": self.k,
            "accuracy": self.accuracy,
            "interval": interval_dict(self.interval),
            "pass_at": {str(k): interval_dict(self.pass_at(k)) for k in self.pass_ks()},
            "maj": interval_dict(self.maj()),
            "statuses": self.statuses,
            "mean_tokens": sum(tokens) / len(tokens),
            "max_tokens": max(tokens),
            "tokens_per_question": sum(tokens) / len(self.by_question()),
            "figure": self.figure,
            "truncated": length / len(self.rows),
            "groups": {
                column: {value: interval_dict(interval) for value, interval in self.group_by(column).items()}
                for column in self.group_columns
            },
            "settings": self.settings,
        }

    def table(self) -> Any:
        """The figures as a `rich` table."""
        from .tables import results_table

        return results_table([self])

    def report(self) -> str:
        """The figures as text, for a terminal of any width."""
        from .tables import render

        return render(self.table())


def interval_dict(interval: Interval) -> dict[str, Any]:
    """An interval for JSON."""
    return {
        "mean": interval.mean, "low": interval.low, "high": interval.high,
        "standard_error": interval.standard_error, "level": interval.level, "method": interval.method,
        "questions": interval.clusters,
    }  # fmt: skip


def _right(rows: list[dict[str, Any]]) -> int:
    return sum(row["status"] == "correct" for row in rows)
