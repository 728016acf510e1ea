"""This package: train steps through the core, as the trainers run them."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

import ptagrpo
from ptagrpo import _core


class Side:
    """A model and its optimizer. precision: "float32" or "bfloat16"; `threads`: 0 leaves the default."""

    def __init__(self, folder: str, precision: str = "float32", threads: int = 0, learning_rate: float = 1e-6):
        if threads:
            ptagrpo.set_num_threads(threads)
        options = {} if precision == "float32" else {"dtype": precision}
        self._model = ptagrpo.load(folder, **options).model
        self._optimizer: Any = None
        self._learning_rate = learning_rate

    def batch(self, tokens: list[list[int]]) -> None:
        """Sequences of equal length, int[B][T]; each token but the first of a sequence is a target."""
        array = np.array(tokens, np.int32)
        count, length = array.shape
        offsets = np.arange(0, array.size + 1, length, dtype=np.int32)
        self._forest = _core.Forest(array.reshape(-1), offsets, np.full(count, -1, np.int32))
        rows = np.arange(array.size, dtype=np.int32).reshape(count, length)
        self._source = np.ascontiguousarray(rows[:, :-1]).reshape(-1)
        self._target = np.ascontiguousarray(array[:, 1:]).reshape(-1)
        self._dlogprobs = np.full(self._target.size, -1.0 / self._target.size, np.float32)

    def loss(self) -> float:
        """Mean negative log-probability of the targets, without gradients."""
        logprobs, _ = self._model.forward(self._forest, self._source, self._target, keep=False)
        return float(-logprobs.astype(np.float64).mean())

    def step(self) -> dict[str, float]:
        """One train step: forward, backward, AdamW. Returns seconds and the loss before the update."""
        if self._optimizer is None:
            self._optimizer = _core.AdamW(self._model, 0.9, 0.999, 1e-8)
        start = time.perf_counter()
        logprobs, _ = self._model.forward(self._forest, self._source, self._target)
        self._model.backward(self._dlogprobs)
        self._optimizer.step(self._learning_rate, 0.01, 0.0)
        self._model.zero_grad()
        seconds = time.perf_counter() - start
        return {"loss": float(-logprobs.astype(np.float64).mean()), "seconds": seconds}

    def versions(self) -> dict[str, Any]:
        return dict(ptagrpo.build_info())
