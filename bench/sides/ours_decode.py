"""This package: a prompt prefilled once, many chains that continue it."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

import ptagrpo
from ptagrpo import _core


class Side:
    """A policy. precision: "float32" or "bfloat16"; `threads`: 0 leaves the default."""

    def __init__(self, folder: str, precision: str = "bfloat16", threads: int = 0):
        if threads:
            ptagrpo.set_num_threads(threads)
        options = {} if precision == "float32" else {"dtype": precision}
        self._model = ptagrpo.load(folder, **options).model
        self._seed = 0

    def logprobs(self, prompt: list[int]) -> list[float]:
        """Log-probabilities of the first 64 ids after the prompt."""
        tokens = np.array(prompt, np.int32)
        forest = _core.Forest(tokens, np.array([0, tokens.size], np.int32), np.array([-1], np.int32))
        source = np.full(64, tokens.size - 1, np.int32)
        values, _ = self._model.forward(forest, source, np.arange(64, dtype=np.int32), keep=False)
        return values.tolist()

    def prefill(self, prompt: list[int]) -> dict[str, float]:
        cache = _core.Cache(self._model)
        start = time.perf_counter()
        cache.prefill([np.array(prompt, np.int32)], np.array([-1], np.int64))
        return {"seconds": time.perf_counter() - start, "tokens": len(prompt)}

    def decode(self, prompt: list[int], chains: int, new_tokens: int) -> dict[str, float]:
        """Sample `new_tokens` in each chain; the prompt's prefill is not in `seconds`."""
        cache = _core.Cache(self._model)
        handle = cache.prefill([np.array(prompt, np.int32)], np.array([-1], np.int64))[0]
        self._seed += 1
        keys = np.arange(chains, dtype=np.uint64) + np.uint64(1000 * self._seed)
        limits = np.full(chains, new_tokens, np.int32)
        start = time.perf_counter()
        drawn = cache.sample(np.full(chains, handle, np.int64), keys, limits)
        return {"seconds": time.perf_counter() - start, "tokens": int(drawn["lengths"].sum())}

    def versions(self) -> dict[str, Any]:
        return dict(ptagrpo.build_info())
