"""This package: matrix products and attention alone, each repeated inside one team of threads."""

from __future__ import annotations

import os
from typing import Any

import ptagrpo
from ptagrpo import _core


class Side:
    """gemm: "" for the kernels that the CPU gets, or "openblas"."""

    def __init__(self, gemm: str = ""):
        _core.kernels_use(gemm or None)
        self._threads = len(os.sched_getaffinity(0))

    def products(self, kind: str, dtype: str, sizes: list[tuple[int, int, int]], repeats: list[int]) -> dict:
        """Seconds of one product of each (M, N, K): "forward" y[M, N] = x[M, K] w[N, K]', "dinput" dx = dy w,
        "dweight" dw += dy' x. Activations are stored in `dtype`."""
        return {
            "seconds": [
                _core.kernels_benchmark(kind, dtype, dtype, *size, count, self._threads)
                for size, count in zip(sizes, repeats, strict=True)
            ]
        }

    def attention(self, direction: str, dtype: str, heads: tuple[int, int, int], lengths: list[int]) -> dict:
        """Seconds of one causal sequence of each length; heads: queries, keys, numbers in each."""
        return {
            "seconds": [
                _core.attention_benchmark(direction, dtype, length, *heads, 8192 // length, self._threads)
                for length in lengths
            ]
        }

    def versions(self) -> dict[str, Any]:
        return dict(ptagrpo.build_info())
