"""How much predicted answers depend on true ones: the Hilbert-Schmidt independence criterion (paper, Fig. 3).

Gretton et al., "A Kernel Statistical Test of Independence" (NIPS 2007). The paper does not say which kernel it
uses. Answers are symbols, so ours is the one that asks whether two of them are equal; with it

    HSIC = sum_ab (p(a, b) - p(a) p(b))^2,

the squared distance of the joint distribution of predicted and true answers from independence.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np

from ..records import Group

PERMUTATIONS = 200
NO_ANSWER = ("no answer",)


def hsic(first: np.ndarray, second: np.ndarray) -> float:
    """tr(K H L H) / n^2, the biased estimate, of two Gram matrices float64[n, n]; H centres rows and columns.

    Raises:
        ValueError: matrices that are not square or not of one size.
    """
    if first.ndim != 2 or first.shape != second.shape or first.shape[0] != first.shape[1]:
        raise ValueError(f"hsic: expected two square matrices of one size, got {first.shape}, {second.shape}")
    return float((_centred(first) * second).sum() / len(first) ** 2)


def equality_gram(values: Sequence[Hashable]) -> np.ndarray:
    """float64[n, n]: 1 where two values are equal.

    >>> equality_gram(["a", "b", "a"]).tolist()
    [[1.0, 0.0, 1.0], [0.0, 1.0, 0.0], [1.0, 0.0, 1.0]]
    """
    codes = _codes(values)
    return (codes[:, None] == codes[None, :]).astype(np.float64)


def gaussian_gram(values: Sequence[float], bandwidth: float | None = None) -> np.ndarray:
    """float64[n, n]: exp(-(x - y)^2 / (2 b^2)) for numbers; b defaults to the median distance of two different
    values (1 if there are none)."""
    points = np.asarray(values, np.float64)
    distances = np.abs(points[:, None] - points[None, :])
    if bandwidth is None:
        apart = distances[distances > 0]
        bandwidth = float(np.median(apart)) if apart.size else 1.0
    return np.exp(-((distances / bandwidth) ** 2) / 2)


def permuted_hsic(
    first: np.ndarray, second: np.ndarray, permutations: int = PERMUTATIONS, seed: int = 0
) -> np.ndarray:
    """HSIC after shuffling the rows of `second` against those of `first`: what independence would give.

    Returns:
        float64[permutations], fixed by `seed`.
    """
    generator = np.random.Generator(np.random.Philox(key=seed))
    centred, n = _centred(first), len(first)
    shuffles = (generator.permutation(n) for _ in range(permutations))
    return np.array([(centred * second[np.ix_(order, order)]).sum() / n**2 for order in shuffles])


def answer_dependence(groups: Sequence[Group], permutations: int = PERMUTATIONS) -> dict[str, float]:
    """HSIC of predicted and true answers over the judged groups.

    A question with several responses contributes the distribution of its predictions: K[q, r] is the chance
    that a response to q and one to r give the same answer. All right answers of a question count as its
    reference answer, however they are spelled; no answer is an answer of its own. Shuffling moves whole
    questions, as responses of one question are not independent.

    plan/hsic: the criterion; with c equally frequent true answers and no error it is (c - 1) / c^2.
    plan/hsic_normalized: divided by sqrt(HSIC(K, K) HSIC(L, L)), at most 1. plan/hsic_null95: 95 % quantile
    of the permutations: below it the dependence may be chance. Empty with fewer than two judged questions or
    where all true answers, or all predictions, are the same.
    """
    judged = [g for g in groups if g.responses and all(r.correct is not None for r in g.responses)]
    if len(judged) < 2:
        return {}
    predictions = [
        [(g.question.answer if r.correct else _symbol(r.answer)) for r in g.responses] for g in judged
    ]
    truths = equality_gram([g.question.answer for g in judged])
    predicted = _mean_embedding_gram(predictions)
    scale = hsic(predicted, predicted) * hsic(truths, truths)
    if scale <= 1e-24:
        return {}
    value = hsic(predicted, truths)
    return {
        "plan/hsic": value,
        "plan/hsic_normalized": value / scale**0.5,
        "plan/hsic_null95": float(np.quantile(permuted_hsic(predicted, truths, permutations), 0.95)),
    }


def _symbol(answer: str | None) -> Hashable:
    return NO_ANSWER if answer is None else " ".join(answer.split())


def _mean_embedding_gram(rows: Sequence[Sequence[Hashable]]) -> np.ndarray:
    """float64[n, n]: chance that one value drawn from row q equals one drawn from row r."""
    codes = _codes([value for row in rows for value in row])
    shares = np.zeros((len(rows), int(codes.max()) + 1))
    owners = np.repeat(np.arange(len(rows)), [len(row) for row in rows])
    np.add.at(shares, (owners, codes), 1.0)
    shares /= shares.sum(axis=1, keepdims=True)
    return shares @ shares.T


def _codes(values: Sequence[Hashable]) -> np.ndarray:
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(value, len(numbers)) for value in values], np.int64)


def _centred(gram: np.ndarray) -> np.ndarray:
    return gram - gram.mean(axis=0) - gram.mean(axis=1)[:, None] + gram.mean()
