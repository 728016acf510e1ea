"""Data sets from outside of the package: by entry point (group `ptagrpo.data`) or by the path of a Python file.

What is found is a `RowFormat`, or a module with one called `FORMAT`. `docs/extending.md` has a worked example.
"""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Collection
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from ..errors import ConfigError
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
    path, attribute = Path(match["path"]), match["name"] or "FORMAT"
    if not path.is_file():
        raise ConfigError(f"data format '{name}': there is no file {path} (working folder: {Path.cwd()})")
    return _checked(
        getattr(_run(path.resolve()), attribute, None), f"data format '{name}': {path}:{attribute}"
    )


@cache
def _run(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault(path.stem, module)  # dataclasses and pickles look their module up
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise ConfigError(f"data format {path}: cannot be run: {type(error).__name__}: {error}") from error
    return module


def installed_formats(taken: Collection[str]) -> dict[str, RowFormat]:
    """Name → format of the installed packages' entry points, in alphabetical order.

    Args:
        taken: names that are no longer free.

    Raises:
        ConfigError: an entry point that cannot be loaded, is no format, or has a name that is taken; names it.
    """
    found: dict[str, RowFormat] = {}
    for point in sorted(entry_points(group=GROUP), key=lambda point: point.name):
        what = f"entry point '{point.name}' of {GROUP} ({point.value})"
        if point.name in taken or point.name in found:
            raise ConfigError(f"{what}: a data format of that name exists already; give it another name")
        try:
            value = point.load()
        except Exception as error:
            raise ConfigError(
                f"{what} cannot be loaded: {type(error).__name__}: {error}. Repair or uninstall its package"
            ) from error
        found[point.name] = _checked(getattr(value, "FORMAT", value), what)
    return found


def _checked(value: Any, what: str) -> RowFormat:
    if not isinstance(value, RowFormat):
        raise ConfigError(f"{what}: expected a ptagrpo.data.formats.RowFormat, got {type(value).__name__}")
    return value
