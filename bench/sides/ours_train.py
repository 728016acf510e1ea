"""This package: train steps through the core, as the trainers run them."""

from __future__ import annotations

import os
import time
from typing import Any

import numpy as np

import ptagrpo
from bench.compare import peak_bytes
from ptagrpo import _core

IMPORTED_BYTES = peak_bytes(os.getpid())


class Side:
    """A model and its optimizer. precision: "float32" or "bfloat16"; `threads`: 0 leaves the default."""

    def __init__(self, folder: str, precision: str = "float32", threads: int = 0):
        if threads:
            ptagrpo.set_num_threads(threads)
        options = {} if precision == "float32" else {"dtype": precision}
        self._model = ptagrpo.load(folder, **options).model
        self._optimizer: Any = None

    def batch(self, tokens: list[list[int]]) -> None:
        """Sequences of equal length, int[B][T]; each token but the first of a sequence is a target."""
        array = np.array(tokens, np.int32)
        count, length = array.shape
        offsets = np.arange(0, array.size + 1, length, dtype=np.int32)
        self._forest = _core.Forest(array.reshape(-1), offsets, np.full(count, -1, np.int32))
        rows = np.arange(array.size, dtype=np.int32).reshape(count, length)
        self._source = np.ascontiguousarray(rows[:, :-1]).reshape(-1)
        self._target = np.ascontiguousarray(array[:, 1:]).reshape(-1)
        self._weights = np.full(self._target.size, 1.0 / self._target.size, np.float32)

    def forest(self, tokens: list[int], lengths: list[int], parents: list[int]) -> None:
        """Segments depth first; every token but the first of a root is a target, predicted from the token before it
        on its path."""
        array, ends = np.array(tokens, np.int32), np.cumsum(lengths)
        starts = ends - np.array(lengths)
        self._forest = _core.Forest(array, np.r_[0, ends].astype(np.int32), np.array(parents, np.int32))
        before = np.arange(array.size) - 1
        before[starts] = [ends[parent] - 1 if parent >= 0 else -1 for parent in parents]
        rows = np.flatnonzero(before >= 0)
        self._source, self._target = before[rows].astype(np.int32), np.ascontiguousarray(array[rows])
        self._weights = np.full(self._target.size, 1.0 / self._target.size, np.float32)

    def loss(self) -> float:
        """Mean negative log-probability of the targets, without gradients."""
        logprobs, _ = self._model.forward(self._forest, self._source, self._target, keep=False)
        return float(-logprobs.astype(np.float64).mean())

    def step(self) -> dict[str, float]:
        """One train step: forward, backward, AdamW. Returns seconds and the loss before the update."""
        if self._optimizer is None:
            self._optimizer = _core.AdamW(self._model, 0.9, 0.999, 1e-8)
        start = time.perf_counter()
        loss, _, _ = _core.train_likelihood(
            self._model, self._forest, self._source, self._target, self._weights
        )
        self._optimizer.step(1e-6, 0.01, 0.0)
        self._model.zero_grad()
        return {"loss": loss, "seconds": time.perf_counter() - start}

    def gradients(self, keep: str = "all") -> dict[str, float]:
        """Forward and backward alone: seconds and loss. keep: activations, "all" or the layers' "inputs"."""
        start = time.perf_counter()
        loss, _, _ = _core.train_likelihood(
            self._model, self._forest, self._source, self._target, self._weights, keep=keep
        )
        seconds = time.perf_counter() - start
        self._model.zero_grad()
        return {"loss": loss, "seconds": seconds}

    def steps(self, count: int) -> dict[str, float]:
        """`count` steps: their mean seconds, and the loss before the first."""
        runs = [self.step() for _ in range(count)]
        return {"loss": runs[0]["loss"], "seconds": sum(run["seconds"] for run in runs) / count}

    def versions(self) -> dict[str, Any]:
        return {**ptagrpo.build_info(), "imported_bytes": IMPORTED_BYTES}
