"""One file per data set or row format. The folder is the registry: a module here has a `FORMAT`.

A format turns one row (a plain dict) into what a stage needs:

- `question(row)` → (prompt, answer): an RL question, answer None where the row has none to compare with;
- `traces(row)`   → worked solutions, which plan distillation summarises and stage 1 trains on.

Both raise `ValueError` with what was expected (the caller adds file and line), or `Unusable` for a row that is
in order and yet holds nothing for that stage. Formats from outside of the package join by the entry point group
`ptagrpo.data`, or are named by the path of their file: see `docs/extending.md`.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from ...errors import ConfigError, did_you_mean

FALLBACK = "plain"


class Unusable(ValueError):
    """The row is well formed, but there is nothing in it for this stage; the text says why. It is counted."""


@dataclass(frozen=True)
class Trace:
    """A worked solution: the question, the reasoning, and the final answer that it states (None: it states none).

    correct: the data set's own verdict; None where nobody judged it. reference: the answer that the data set
    holds to be right; None where it has none besides the solution's.
    """

    question: str
    think: str
    answer: str | None
    correct: bool | None = None
    reference: str | None = None


@dataclass(frozen=True)
class Hub:
    """Where a data set lives on the hub, how many rows its split has, and under which licence."""

    repo: str
    config: str | None = None
    split: str = "train"
    rows: int | None = None
    licence: str = ""


@dataclass(frozen=True)
class RowFormat:
    """How to read the rows of one data set.

    columns: what a row has, for messages. detect: asked about the first row when no format is named.
    image_columns: those that hold the question's pictures, in order (see `ptagrpo.data.pictures`).
    Where the data is, for a format that is a data set by itself, in this order: file, below the folder that the
    variable PTAGRPO_DATA names; rows, a function from the split's name to rows, for data that lives elsewhere;
    hub.
    """

    name: str
    columns: str
    detect: Callable[[Mapping[str, Any]], bool]
    question: Callable[[Mapping[str, Any]], tuple[str | list, str | None]] | None = None
    traces: Callable[[Mapping[str, Any]], list[Trace]] | None = None
    image_columns: tuple[str, ...] = ()
    hub: Hub | None = None
    file: str = ""
    rows: Callable[[str], Iterable[Mapping[str, Any]]] | None = None


@lru_cache(maxsize=1)
def _shipped() -> dict[str, RowFormat]:
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    return {name: importlib.import_module(f"{__name__}.{name}").FORMAT for name in names}


def all_formats() -> dict[str, RowFormat]:
    """Name → format: those of this folder in alphabetical order, then those of installed packages.

    Raises:
        ConfigError: an installed package offers something that is no format, or a name that is taken.
    """
    from ..outside import installed_formats

    return _shipped() | installed_formats(taken=_shipped())


def get_format(name: str) -> RowFormat:
    """The format of that name, or in the Python file of that path (`file.py`, or `file.py:NAME`).

    Raises:
        ConfigError: there is none.
    """
    from ..outside import format_of_file, names_a_file

    if names_a_file(name):
        return format_of_file(name)
    formats = all_formats()
    if name not in formats:
        raise ConfigError(
            f"unknown data format '{name}'; expected auto, one of {', '.join(formats)}, or the path of a Python "
            f"file with a FORMAT.{did_you_mean(name, formats)}"
        )
    return formats[name]


def find_format(name: str, row: Mapping[str, Any]) -> RowFormat:
    """The format called `name` (see `get_format`), or for "auto" the one that recognises `row` (else the plain
    one).

    Raises:
        ConfigError: unknown name, or several formats recognise the row.
    """
    if name != "auto":
        return get_format(name)
    formats = all_formats()
    found = [f for f in formats.values() if f.name != FALLBACK and f.detect(row)]
    if len(found) > 1:
        raise ConfigError(
            f"the columns {sorted(map(str, row))} fit several data formats "
            f"({', '.join(f.name for f in found)}): name one of them as the data format"
        )
    return found[0] if found else formats[FALLBACK]
