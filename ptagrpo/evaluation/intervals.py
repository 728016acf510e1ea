"""Confidence intervals clustered by question: samples of one question are not independent of each other."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

RESAMPLES = 10_000
_BLOCK = 1_000_000


@dataclass(frozen=True)
class Interval:
    """A mean over questions with its confidence interval.

    mean, low, high: as the values. standard_error: analytic, from the spread between questions. method:
    "bootstrap" (percentiles over resampled questions) or "wilson" (all questions at 0 or all at 1: no spread
    to resample).
    """

    mean: float
    low: float
    high: float
    standard_error: float
    clusters: int
    level: float
    method: str

    def __str__(self) -> str:
        return f"{100 * self.mean:.1f} [{100 * self.low:.1f}, {100 * self.high:.1f}]"


def cluster_means(values: Sequence[float], clusters: Sequence[Hashable]) -> np.ndarray:
    """Mean of each cluster, float64[G], in the order in which clusters first appear."""
    if len(values) != len(clusters):
        raise ValueError(
            f"cluster_means: {len(values)} values and {len(clusters)} cluster labels; expected as many"
        )
    sums: dict[Hashable, list[float]] = {}
    for value, cluster in zip(values, clusters, strict=True):
        sums.setdefault(cluster, []).append(float(value))
    return np.array([math.fsum(group) / len(group) for group in sums.values()], dtype=np.float64)


def standard_error(means: np.ndarray) -> float:
    """Standard error of the mean of independent question means; 0 for a single question, whose spread is
    unknown."""
    return float(np.std(means, ddof=1) / math.sqrt(len(means))) if len(means) > 1 else 0.0


def wilson(successes: float, n: int, level: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a proportion (Wilson 1927).

    >>> tuple(round(bound, 4) for bound in wilson(0, 30))
    (0.0, 0.1135)
    """
    if n < 1 or not 0 <= successes <= n:
        raise ValueError(f"wilson: {successes} successes of {n}; expected 0 ≤ successes ≤ n and n ≥ 1")
    z = NormalDist().inv_cdf(0.5 + level / 2)
    share = successes / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    return low, 1.0 if successes == n else min(1.0, centre + half)


def bootstrap_means(means: np.ndarray, resamples: int = RESAMPLES, seed: int = 0) -> np.ndarray:
    """Means of `resamples` draws of G questions with replacement, float64[resamples]; fixed by `seed`."""
    generator = np.random.Generator(np.random.Philox(key=seed))
    size = len(means)
    rows = max(1, _BLOCK // size)
    blocks = []
    for start in range(0, resamples, rows):
        picks = generator.integers(0, size, size=(min(rows, resamples - start), size))
        blocks.append(means[picks].mean(axis=1))
    return np.concatenate(blocks)


def clustered_interval(
    values: Sequence[float],
    clusters: Sequence[Hashable] | None = None,
    *,
    level: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """Mean over questions (each question counts the same) and its interval from a bootstrap over questions.

    Args:
        values: one per sample, or one per question when `clusters` is None.
        clusters: the question of each value.
        seed: of the bootstrap; the same input gives the same interval.

    Raises:
        ValueError: no values, a value that is not finite, lengths that differ, a level outside (0, 1).
    """
    if not 0 < level < 1:
        raise ValueError(f"clustered_interval: level is {level}, expected between 0 and 1")
    means = cluster_means(values, range(len(values)) if clusters is None else clusters)
    if len(means) == 0:
        raise ValueError("clustered_interval: no values")
    if not np.isfinite(means).all():
        raise ValueError("clustered_interval: values must be finite")
    mean = math.fsum(means) / len(means)
    if np.all(means == 0.0) or np.all(means == 1.0):
        low, high = wilson(round(float(means.sum())), len(means), level)
        return Interval(mean, low, high, 0.0, len(means), level, "wilson")
    draws = bootstrap_means(means, resamples, seed)
    low, high = np.quantile(draws, [0.5 - level / 2, 0.5 + level / 2])
    return Interval(mean, float(low), float(high), standard_error(means), len(means), level, "bootstrap")


def paired_interval(
    first: Sequence[float],
    second: Sequence[float],
    *,
    level: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """Interval of the mean difference `first − second` over the same questions, one value per question each.

    Raises:
        ValueError: different lengths, no values, or values that are not finite.
    """
    if len(first) != len(second) or len(first) == 0:
        raise ValueError(
            f"paired_interval: {len(first)} and {len(second)} values; expected as many, and one or more"
        )
    difference = np.asarray(first, dtype=np.float64) - np.asarray(second, dtype=np.float64)
    if not np.isfinite(difference).all():
        raise ValueError("paired_interval: values must be finite")
    draws = bootstrap_means(difference, resamples, seed)
    low, high = np.quantile(draws, [0.5 - level / 2, 0.5 + level / 2])
    mean = math.fsum(difference) / len(difference)
    return Interval(
        mean, float(low), float(high), standard_error(difference), len(difference), level, "bootstrap"
    )


def balanced_interval(parts: Sequence[Sequence[float]], *, level: float = 0.95, seed: int = 0) -> Interval:
    """Mean of the parts' means (each part counts the same, however many questions it has), one value per question.

    The bootstrap draws questions within each part.

    Raises:
        ValueError: no part, an empty one, or values that are not finite.
    """
    single = [clustered_interval(values, level=level, seed=seed) for values in parts]
    if len(single) < 2:
        if not single:
            raise ValueError("balanced_interval: no values")
        return single[0]
    mean = math.fsum(part.mean for part in single) / len(single)
    clusters = sum(part.clusters for part in single)
    if all(part.method == "wilson" for part in single) and mean in (0.0, 1.0):
        low, high = wilson(round(mean * clusters), clusters, level)
        return Interval(mean, low, high, 0.0, clusters, level, "wilson")
    arrays = [np.asarray(values, dtype=np.float64) for values in parts]
    draws = np.mean([bootstrap_means(array, seed=seed + i) for i, array in enumerate(arrays)], axis=0)
    low, high = np.quantile(draws, [0.5 - level / 2, 0.5 + level / 2])
    error = math.sqrt(math.fsum(part.standard_error**2 for part in single)) / len(single)
    return Interval(mean, float(low), float(high), error, clusters, level, "bootstrap")
