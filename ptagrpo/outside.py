"""Code from outside of the package: Python files by their path, and entry points of installed packages.

What comes of them is anybody's code: whatever it raises is a ConfigError that names the file or the entry point.
"""

from __future__ import annotations

import importlib.util
import sys
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from .errors import ConfigError


def run_file(path: str | Path, what: str) -> ModuleType:
    """The module that a Python file is; a file that has not changed is run once.

    Args:
        what: what it is to be, for messages: "data format 'mine.py'".

    Raises:
        ConfigError: there is no such file, or it does not run.
    """
    path = Path(path)
    if not path.is_file():
        raise ConfigError(f"{what}: there is no file {path} (working folder: {Path.cwd()})")
    try:
        return _run(path.resolve(), path.stat().st_mtime_ns)
    except Exception as error:
        raise ConfigError(f"{what}: cannot be run: {type(error).__name__}: {error}") from error


@cache
def _run(path: Path, written: int) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault(path.stem, module)  # dataclasses and pickles look their module up
    spec.loader.exec_module(module)
    return module


def points(group: str) -> list[EntryPoint]:
    """The entry points of a group, by name."""
    return sorted(entry_points(group=group), key=lambda point: point.name)


def point_name(point: EntryPoint) -> str:
    """What messages call an entry point."""
    return f"entry point '{point.name}' of {point.group} ({point.value})"


def load_point(point: EntryPoint) -> Any:
    """What an entry point names.

    Raises:
        ConfigError: it cannot be loaded.
    """
    try:
        return point.load()
    except Exception as error:
        raise ConfigError(
            f"{point_name(point)} cannot be loaded: {type(error).__name__}: {error}. Repair or uninstall its package"
        ) from error
