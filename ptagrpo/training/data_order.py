"""Which rows come when: a pure function of (seed, epoch), so that a position is all that needs saving."""

from __future__ import annotations

import numpy as np

from .. import rng


def epoch_order(num_rows: int, seed: int, epoch: int, shuffle: bool) -> np.ndarray:
    """Row indices of one epoch, int64[num_rows]: a permutation keyed by (seed, epoch), or 0, 1, 2, ….

    Sorted by raw 64-bit draws of Philox, whose stream, unlike `Generator.permutation`, NumPy never changes.
    """
    if not shuffle:
        return np.arange(num_rows)
    draws = np.random.Philox(key=rng.key(seed, "data order", epoch)).random_raw(num_rows)
    return np.argsort(draws, kind="stable")


class RowStream:
    """The epochs' orders one after the other, without an end."""

    def __init__(self, num_rows: int, seed: int, shuffle: bool):
        self._num_rows, self._seed, self._shuffle = num_rows, seed, shuffle
        self._epoch = -1
        self._order = np.zeros(0, np.int64)

    def take(self, position: int, count: int) -> list[int]:
        """Indices of rows `position` … `position + count - 1` of the stream."""
        rows = []
        for place in range(position, position + count):
            epoch, offset = divmod(place, self._num_rows)
            if epoch != self._epoch:
                self._epoch = epoch
                self._order = epoch_order(self._num_rows, self._seed, epoch, self._shuffle)
            rows.append(int(self._order[offset]))
        return rows
