"""Bootstrap intervals with two levels: seeds, and the questions that every seed answers.

With the same questions for all seeds the design is crossed, and both levels are resampled independently
(Owen, "The pigeonhole bootstrap", 2007). With questions of its own for each seed it is nested: seeds first,
then questions within each. Both are a little too wide rather than too narrow; with one seed, only questions
are resampled and the interval says nothing about other seeds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

RESAMPLES = 10_000


@dataclass(frozen=True)
class Estimate:
    """A mean with its bootstrap interval.

    mean, low, high: as the values. standard_error: standard deviation of the bootstrap means. seeds,
    questions: how many of each (questions of one seed, or their mean number). level: of the interval.
    """

    mean: float
    low: float
    high: float
    standard_error: float
    seeds: int
    questions: float
    level: float

    def as_dict(self) -> dict[str, float]:
        """For JSON."""
        return dict(self.__dict__)


def two_level_bootstrap(
    values: np.ndarray | Sequence[Sequence[float]],
    *,
    crossed: bool = True,
    level: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Estimate:
    """Mean over seeds of the mean over questions, with its percentile interval.

    Args:
        values: one row per seed, one value per question: an accuracy, or a difference of two methods.
        crossed: True where column q is the same question in every row; rows then have one length.
        resamples, seed: of the bootstrap; the same input gives the same interval.

    Raises:
        ValueError: no values, rows of different lengths in a crossed design, a value that is not finite, a
            level outside (0, 1).

    >>> two_level_bootstrap([[1.0, 0.0, 1.0, 0.0]], resamples=100).mean
    0.5
    """
    rows = [np.asarray(row, np.float64) for row in values]
    if not rows or any(row.ndim != 1 or not len(row) for row in rows):
        raise ValueError("two_level_bootstrap: expected one or more rows (seeds) of one or more values")
    if crossed and len({len(row) for row in rows}) > 1:
        raise ValueError(
            f"two_level_bootstrap: rows of {sorted({len(row) for row in rows})} values; the same questions "
            "need as many in each (or crossed=False)"
        )
    if not all(np.isfinite(row).all() for row in rows):
        raise ValueError("two_level_bootstrap: values must be finite")
    if not 0 < level < 1:
        raise ValueError(f"two_level_bootstrap: level is {level}, expected between 0 and 1")
    generator = np.random.Generator(np.random.Philox(key=seed))
    draws = (_crossed if crossed else _nested)(rows, resamples, generator)
    low, high = np.quantile(draws, [0.5 - level / 2, 0.5 + level / 2])
    mean = math.fsum(math.fsum(row) / len(row) for row in rows) / len(rows)
    questions = sum(map(len, rows)) / len(rows)
    return Estimate(mean, float(low), float(high), float(draws.std()), len(rows), questions, level)


def _crossed(rows: list[np.ndarray], resamples: int, generator: np.random.Generator) -> np.ndarray:
    table = np.stack(rows)
    seeds, questions = table.shape
    # Counts of a draw with replacement are multinomial: a mean is then one product with the table.
    by_seed = generator.multinomial(seeds, np.full(seeds, 1 / seeds), resamples) / seeds
    by_question = generator.multinomial(questions, np.full(questions, 1 / questions), resamples) / questions
    return np.asarray(np.einsum("bq,bq->b", by_seed @ table, by_question))


def _nested(rows: list[np.ndarray], resamples: int, generator: np.random.Generator) -> np.ndarray:
    seeds = len(rows)
    means = np.zeros(resamples)
    for _ in range(seeds):
        # One slot of the resample at a time: which seed fills it, then a fresh draw of that seed's questions.
        picks = generator.integers(0, seeds, resamples)
        for index, row in enumerate(rows):
            slots = np.flatnonzero(picks == index)
            counts = generator.multinomial(len(row), np.full(len(row), 1 / len(row)), len(slots))
            means[slots] += counts @ row / len(row) / seeds
    return means
