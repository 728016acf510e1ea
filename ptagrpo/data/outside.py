"""Data sets from outside of the package: by entry point (group `ptagrpo.data`) or by the path of a Python file.

What is found is a `RowFormat`, or a module with one called `FORMAT`. `docs/extending.md` has a worked example.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

from ..errors import ConfigError
from ..outside import load_point, point_name, points, run_file
from .formats import RowFormat

GROUP = "ptagrpo.data"
_FILE = re.compile(r"(?P<path>.+\.py)(?::(?P<name>\w+))?", re.DOTALL)


def names_a_file(name: str) -> bool:
    """Whether a data format is named by its file.

    >>> names_a_file("sets/mine.py"), names_a_file("mine.py:EASY"), names_a_file("gsm8k")
    (True, True, False)
    """
    return _FILE.fullmatch(name) is not None


def format_of_file(name: str) -> RowFormat:
    """The format in `file.py` (its `FORMAT`) or `file.py:NAME`.

    Raises:
        ConfigError: no such file, it does not run, or has no such format.
    """
    match = _FILE.fullmatch(name)
    assert match is not None  # names_a_file says so
    path, attribute = Path(match["path"]), match["name"] or "FORMAT"
    what = f"data format '{name}'"
    return _checked(getattr(run_file(path, what), attribute, None), f"{what}: {path}:{attribute}")


def installed_formats(taken: Collection[str]) -> dict[str, RowFormat]:
    """Name → format of the installed packages' entry points, in alphabetical order.

    Args:
        taken: names that are no longer free.

    Raises:
        ConfigError: an entry point that cannot be loaded, is no format, or has a name that is taken; names it.
    """
    found: dict[str, RowFormat] = {}
    for point in points(GROUP):
        if point.name in taken or point.name in found:
            raise ConfigError(
                f"{point_name(point)}: a data format of that name exists already; give it another name"
            )
        value = load_point(point)
        found[point.name] = _checked(getattr(value, "FORMAT", value), point_name(point))
    return found


def _checked(value: Any, what: str) -> RowFormat:
    if not isinstance(value, RowFormat):
        raise ConfigError(f"{what}: expected a ptagrpo.data.formats.RowFormat, got {type(value).__name__}")
    return value
