"""Finding benchmarks: the files of the folder, entry points of other packages, a Python file of one's own."""

from __future__ import annotations

import importlib
import pkgutil
from importlib.metadata import EntryPoint
from typing import Any

from ...errors import ConfigError, did_you_mean
from ...outside import load_point, point_name, points, run_file
from ..base import BenchmarkSpec

ENTRY_POINTS = "ptagrpo.benchmarks"
PACKAGE = __name__.rsplit(".support", 1)[0]


def own_names() -> list[str]:
    """Names of the benchmarks that come with the package, sorted: the files of the folder."""
    folder = importlib.import_module(PACKAGE).__path__
    return sorted(
        module.name for module in pkgutil.iter_modules(folder) if not module.ispkg and module.name != "base"
    )


def entry_points() -> dict[str, EntryPoint]:
    """Name → entry point of the group `ptagrpo.benchmarks` in installed packages."""
    return {point.name: point for point in points(ENTRY_POINTS)}


def names() -> list[str]:
    """Names of all benchmarks, sorted.

    >>> {"math500", "mmmu", "mmk12_physics"} <= set(names())
    True
    """
    return sorted({*own_names(), *entry_points()})


def find(name: str) -> BenchmarkSpec:
    """The description of a benchmark.

    Args:
        name: of `names()`, or the path of a Python file with a `SPEC`.

    Raises:
        ConfigError: there is none of that name, or the file or entry point has no usable `SPEC`.
    """
    if name.endswith(".py"):
        return _spec(run_file(name, f"benchmark '{name}'"), f"benchmark '{name}'")
    own, others = own_names(), entry_points()
    if name in own:
        return importlib.import_module(f"{PACKAGE}.{name}").SPEC
    if name in others:
        return _spec(load_point(others[name]), point_name(others[name]))
    known = sorted({*own, *others})
    raise ConfigError(
        f"no benchmark is called {name!r}; there are {', '.join(known)}, or give a .jsonl file of your own, or a "
        f".py file with a SPEC.{did_you_mean(name, known)}"
    )


def _spec(found: Any, where: str) -> BenchmarkSpec:
    spec = getattr(found, "SPEC", found)
    if not isinstance(spec, BenchmarkSpec):
        raise ConfigError(
            f"{where}: expected a module with SPEC = BenchmarkSpec(...), got {type(spec).__name__}"
        )
    return spec
