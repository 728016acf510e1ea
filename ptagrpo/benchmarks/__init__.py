"""Benchmarks: one small file each, found by its name. A new one is a new file here with a `SPEC`, or one anywhere else
(`docs/extending.md`)."""

from __future__ import annotations

import os
from pathlib import Path

from ..errors import ConfigError, DataError
from .base import (
    INSTRUCTION,
    Benchmark,
    BenchmarkSpec,
    Parsed,
    Part,
    official_messages,
    text_answer,
)
from .support.options import letter_answer, lettered, option_lines, options_in_text, parse_options
from .support.reading import read_benchmark, to_question
from .support.registry import find, names, own_names
from .support.sources import locate
from .support.verdicts import OFFICIAL_SEED, grade_choice, grade_choice_or_open

__all__ = [
    "INSTRUCTION",
    "OFFICIAL_SEED",
    "Benchmark",
    "BenchmarkSpec",
    "Parsed",
    "Part",
    "expand",
    "find",
    "grade_choice",
    "grade_choice_or_open",
    "letter_answer",
    "lettered",
    "load",
    "locate",
    "names",
    "official_messages",
    "option_lines",
    "options_in_text",
    "own_names",
    "parse_options",
    "spec_of",
    "text_answer",
    "to_question",
]

TABLES = {"maths": "Mathematics", "multimodal": "Multimodal"}
PAPER_ORDER = (
    "math500", "aime24", "aime25", "amc23",
    "mmmu_pro", "mmmu", "emma", "mmk12_physics", "mmk12_chemistry", "mmk12_biology",
)  # fmt: skip


def expand(name: str) -> list[str]:
    """The benchmarks that a name stands for: "all", "maths" and "multimodal" for those of the paper, in its order.

    >>> expand("maths"), expand("emma")
    (['math500', 'aime24', 'aime25', 'amc23'], ['emma'])
    """
    if name == "all":
        return list(PAPER_ORDER)
    if name in TABLES:
        return [benchmark for benchmark in PAPER_ORDER if find(benchmark).table == name]
    return [name]


def spec_of(name: str | os.PathLike) -> BenchmarkSpec:
    """The description of a benchmark: of a name, of a Python file with a `SPEC`, of a JSONL file of one's own.

    Raises:
        ConfigError: there is none.
    """
    if not str(name).endswith(".jsonl"):
        return find(str(name))
    own = Path(name)
    return BenchmarkSpec(
        own.stem, own.stem, own.name, str(own), "", None, text_answer,
        id_columns=("id", "unique_id", "idx"), prompt_columns=("problem", "question", "prompt"), table=own.stem,
    )  # fmt: skip


def load(
    name: str | os.PathLike, path: str | os.PathLike | None = None, *, partial: bool = False
) -> Benchmark:
    """Load a benchmark, with its rows checked.

    Args:
        name: one of `names()`; the path of a Python file with a `SPEC` (its rows may lie beside it); or the path of a
            JSONL file with `problem`, `question` or `prompt`, and `answer`.
        path: the benchmark's file (JSONL, JSON, parquet), or a folder that has it, also as the hub keeps it. None:
            below the folder that the variable PTAGRPO_DATA names where it is there, else the hub.
        partial: accept another number of rows than the benchmark has: a sample.

    Raises:
        ConfigError: an unknown name, or a package is needed and not installed.
        DataError: a missing file, a malformed or repeated row (file and line), a wrong number of rows.
    """
    spec = spec_of(name)
    if path is None and str(name).endswith(".jsonl"):
        path = Path(name)
    elif path is None and str(name).endswith(".py"):
        beside = Path(name).parent
        path = beside if spec.file and (beside / Path(spec.file).name).is_file() else None
    return read_benchmark(spec, path, partial=partial)


def at_hand(spec: BenchmarkSpec, path: str | os.PathLike | None = None) -> bool:
    """Whether the rows of a benchmark are in a local file (not whether they are whole)."""
    try:
        return bool(locate(spec, path))
    except (DataError, ConfigError):
        return False
