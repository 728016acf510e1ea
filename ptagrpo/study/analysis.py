"""From cells to numbers: accuracies with two-level intervals, differences with tests, what could be seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import ConfigError
from ..statistics import detectable_difference, holm, mcnemar, sign_flip, two_level_bootstrap

Results = Mapping[str, Sequence[Mapping[str, Any]]]  # variant -> result of each seed


def analyse(results: Results, pairs: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """All figures of a study, for JSON.

    Args:
        results: by variant, its cells in the order of seeds; the same seeds and questions for all.
        pairs: comparisons (a, b); differences are a minus b.

    Returns:
        {"variants": {name: accuracy (an Estimate), by_seed, tokens of a response, spent (means over seeds)},
        "comparisons": [see `comparison`]}, p-values of the latter corrected together by Holm.
    """
    _check_questions(results)
    variants = {}
    for name, cells in results.items():
        table = _table(cells, "accuracy")
        variants[name] = {
            "accuracy": two_level_bootstrap(table).as_dict(),
            "by_seed": table.mean(axis=1).tolist(),
            "pass_at": _means([cell["evaluation"]["pass_at"] for cell in cells]),
            "maj": float(np.mean([cell["evaluation"]["maj"] for cell in cells])),
            "mean_tokens": float(np.mean([cell["evaluation"]["mean_tokens"] for cell in cells])),
            "spent": _means([cell["spent"] for cell in cells]),
        }
    comparisons = [comparison(a, b, results[a], results[b]) for a, b in pairs]
    for entry, corrected in zip(comparisons, holm([c["p_questions"] for c in comparisons]), strict=True):
        entry["p_holm"] = corrected
    return {"variants": variants, "comparisons": comparisons}


def comparison(
    a: str, b: str, first: Sequence[Mapping[str, Any]], second: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """a minus b over the same questions and seeds.

    difference: an Estimate over seeds and questions. p_questions: sign-flip test over questions (each averaged
    over samples and seeds): would other questions show it for these seeds? p_seeds: over seeds, at least
    2 / 2^seeds: would other seeds? mcnemar: exact test of each seed's first responses, with Holm's correction
    over the seeds. detectable: the smallest true difference that this much data finds in four of five cases.
    """
    one, two = _table(first, "accuracy"), _table(second, "accuracy")
    difference = two_level_bootstrap(one - two)
    only_a, only_b = [], []
    for x, y in zip(_table(first, "first"), _table(second, "first"), strict=True):
        only_a.append(int(np.sum((x == 1) & (y == 0))))
        only_b.append(int(np.sum((x == 0) & (y == 1))))
    p_values = holm([mcnemar(x, y) for x, y in zip(only_a, only_b, strict=True)])
    return {
        "a": a,
        "b": b,
        "difference": difference.as_dict(),
        "by_seed": (one - two).mean(axis=1).tolist(),
        "p_questions": sign_flip((one - two).mean(axis=0)),
        "p_seeds": sign_flip((one - two).mean(axis=1)),
        "mcnemar": {"only_a": only_a, "only_b": only_b, "p_holm": p_values},
        "detectable": detectable_difference(difference.standard_error),
    }


def verdict(entry: Mapping[str, Any]) -> str:
    """A comparison in words, whichever way it came out.

    The interval over seeds and questions has to leave out 0 and the corrected test over questions has to
    agree; otherwise the data do not decide.
    """
    low, high = entry["difference"]["low"], entry["difference"]["high"]
    if entry["p_holm"] <= 0.05 and (low > 0 or high < 0):
        return f"{entry['a'] if low > 0 else entry['b']} is ahead"
    if entry["detectable"] == 0.0:  # differences without any spread, as of two models that solve nothing
        return "not decided: the two are equal on every question, which says nothing about what could have shown"
    return f"not decided: a difference below {100 * entry['detectable']:.1f} points would hardly show"


def _table(cells: Sequence[Mapping[str, Any]], name: str) -> np.ndarray:
    return np.array([cell["evaluation"][name] for cell in cells], np.float64)


def _means(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


def _check_questions(results: Results) -> None:
    seen = {cell["evaluation"]["questions"] for cells in results.values() for cell in cells}
    if len(seen) > 1:
        raise ConfigError("study: its cells were evaluated on different questions; they cannot be compared")
    starts: dict[tuple[int, str], set[str]] = {}
    for cells in results.values():
        for cell in cells:
            starts.setdefault((cell["seed"], cell["identity"]["start"]), set()).add(cell["start"])
    for (seed, kind), weights in starts.items():
        if len(weights) > 1:
            raise ConfigError(f"study: cells of seed {seed} began from different weights ({kind} start)")
