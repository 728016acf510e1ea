"""Benchmarks: one small file each, found by its name. A new one is a new file here with a `SPEC`."""

from __future__ import annotations

import importlib
import os
import pkgutil
from pathlib import Path

from ..errors import ConfigError, DataError, did_you_mean
from .base import (
    INSTRUCTION,
    Benchmark,
    BenchmarkSpec,
    locate,
    official_messages,
    read_benchmark,
    text_answer,
)

__all__ = ["INSTRUCTION", "Benchmark", "BenchmarkSpec", "find", "load", "names", "official_messages"]


def names() -> list[str]:
    """Names of all benchmarks, sorted: the files of this folder.

    >>> names()
    ['aime24', 'aime25', 'amc23', 'math500']
    """
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if module.name != "base")


def find(name: str) -> BenchmarkSpec:
    """The description of a benchmark.

    Raises:
        ConfigError: there is none of that name.
    """
    if name not in names():
        raise ConfigError(
            f"no benchmark is called {name!r}; there are {', '.join(names())}, or give a .jsonl file of "
            "your own."
            f"{did_you_mean(name, names())}"
        )
    return importlib.import_module(f".{name}", __name__).SPEC


def load(name: str | os.PathLike, path: str | os.PathLike | None = None) -> Benchmark:
    """Load a benchmark, with its rows checked.

    Args:
        name: one of `names()`; or the path of a JSONL file with `problem`, `question` or `prompt`, and
            `answer`.
        path: the benchmark's JSONL file, or a folder that has it. None: below the folder that the variable
            PTAGRPO_DATA names (`maths/<name>.jsonl`) where it is there, else the hub.

    Raises:
        ConfigError: an unknown name, or `datasets` is needed and not installed.
        DataError: a missing file, a malformed or repeated row (file and line), a wrong number of rows.
    """
    if str(name).endswith(".jsonl"):
        own = Path(name)
        spec = BenchmarkSpec(
            own.stem, own.stem, own.name, str(own), "", None, text_answer,
            id_columns=("id", "unique_id", "idx"), prompt_columns=("problem", "question", "prompt"),
        )  # fmt: skip
        return read_benchmark(spec, own if path is None else path)
    return read_benchmark(find(str(name)), path)


def at_hand(spec: BenchmarkSpec, path: str | os.PathLike | None = None) -> bool:
    """Whether the rows of a benchmark are in a local file (not whether they are whole)."""
    try:
        return bool(locate(spec, path))
    except DataError:
        return False
