"""One file per training-set or trace format. The folder is the registry: a module here has a `FORMAT`.

A format turns one row (a plain dict) into what a stage needs:

- `question(row)` → (prompt, answer): an RL question;
- `traces(row)`   → worked solutions, which plan distillation summarises and stage 1 trains on.

Both raise `ValueError` with what was expected; the caller adds file and line.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from ...errors import ConfigError, did_you_mean

FALLBACK = "plain"


@dataclass(frozen=True)
class Trace:
    """A worked solution: the question, the reasoning, its final answer; `correct` is None where nobody
    judged it."""

    question: str
    think: str
    answer: str
    correct: bool | None = None


@dataclass(frozen=True)
class Hub:
    """Where a data set lives on the hub."""

    repo: str
    config: str | None = None
    split: str = "train"


@dataclass(frozen=True)
class RowFormat:
    """How to read the rows of one data set. `detect` is asked about the first row when no format is named."""

    name: str
    columns: str
    detect: Callable[[Mapping[str, Any]], bool]
    question: Callable[[Mapping[str, Any]], tuple[str | list, str | None]] | None = None
    traces: Callable[[Mapping[str, Any]], list[Trace]] | None = None
    hub: Hub | None = None


@lru_cache(maxsize=1)
def all_formats() -> dict[str, RowFormat]:
    """Name → format, in alphabetical order."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    return {name: importlib.import_module(f"{__name__}.{name}").FORMAT for name in names}


def find_format(name: str, row: Mapping[str, Any]) -> RowFormat:
    """The format called `name`, or for "auto" the one that recognises `row` (else the plain one).

    Raises:
        ConfigError: unknown name, or several formats recognise the row.
    """
    formats = all_formats()
    if name != "auto":
        if name not in formats:
            raise ConfigError(
                f"unknown data format '{name}'; expected auto or one of {', '.join(formats)}."
                f"{did_you_mean(name, formats)}"
            )
        return formats[name]
    found = [f for f in formats.values() if f.name != FALLBACK and f.detect(row)]
    if len(found) > 1:
        raise ConfigError(
            f"the columns {sorted(map(str, row))} fit several data formats "
            f"({', '.join(f.name for f in found)}): name one of them as the data format"
        )
    return found[0] if found else formats[FALLBACK]
