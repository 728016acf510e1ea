"""Where images stand in a run of tokens: which rows are theirs, and what every row's heads turn by.

A row has three rotary positions: time, height, width (Qwen2-VL, arXiv 2409.12191, section 2.1). Those of a text token
are equal and go on by one. The rows of an image have one time, and height and width count from it over its merged
squares; behind an image, text goes on at the largest position so far plus one. So an image takes fewer positions than
rows, and what comes later has a constant `shift` (rotary position minus row).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np

from ..records import Picture

Placed: TypeAlias = tuple[int, Picture]  # the row where its tokens begin, and the picture


def rope_positions(length: int, placed: Sequence[Placed], start: int = 0) -> tuple[np.ndarray, int]:
    """Rotary positions of a run of `length` rows that begins at position `start`.

    Args:
        placed: its pictures in order; they must not overlap or reach beyond the run.

    Returns:
        (int32[3, length] by time, height and width; the position of what comes behind).

    Raises:
        ValueError: pictures overlap or reach beyond the run.

    >>> from types import SimpleNamespace
    >>> square = SimpleNamespace(merged=(2, 2), tokens=4)
    >>> rope_positions(6, [(1, square)])[0].tolist()
    [[0, 1, 1, 1, 1, 3], [0, 1, 1, 2, 2, 3], [0, 1, 2, 1, 2, 3]]
    """
    positions = np.empty((3, length), np.int32)
    row, at = 0, start
    for first, picture in placed:
        down, across = picture.merged
        if first < row or first + picture.tokens > length:
            raise ValueError(
                f"a picture of {picture.tokens} rows at row {first} does not fit into rows {row} to {length}"
            )
        positions[:, row:first] = at + np.arange(first - row)
        at += first - row
        rows = slice(first, first + picture.tokens)
        positions[0, rows] = at
        positions[1, rows] = at + np.repeat(np.arange(down), across)
        positions[2, rows] = at + np.tile(np.arange(across), down)
        row, at = rows.stop, at + max(down, across)
    positions[:, row:] = at + np.arange(length - row)
    return positions, at + length - row


def picture_rows(placed: Sequence[Placed]) -> np.ndarray:
    """int32[n]: the rows of the pictures, in order."""
    parts = [np.arange(first, first + picture.tokens) for first, picture in placed]
    return np.concatenate([np.zeros(0, np.int64), *parts]).astype(np.int32)


def place(token_ids: np.ndarray, image_token_id: int, pictures: Sequence[Picture]) -> tuple[Placed, ...]:
    """Give the image tokens of a run to its pictures, in order. Further ones behind are ordinary tokens: a model may
    sample them.

    Raises:
        ValueError: there are fewer of them than the pictures take.
    """
    rows = np.flatnonzero(np.asarray(token_ids) == image_token_id)
    wanted = sum(picture.tokens for picture in pictures)
    if len(rows) < wanted:
        raise ValueError(f"has {len(rows)} image tokens, but its {len(pictures)} images take {wanted}")
    placed, next_row = [], 0
    for picture in pictures:
        placed.append((int(rows[next_row]), picture))
        next_row += picture.tokens
    return tuple(placed)
