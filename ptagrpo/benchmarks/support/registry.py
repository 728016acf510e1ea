"""Finding benchmarks: the files of the folder, entry points of other packages, a Python file of one's own."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import pkgutil
from pathlib import Path
from typing import Any

from ...errors import ConfigError, did_you_mean
from ..base import BenchmarkSpec

ENTRY_POINTS = "ptagrpo.benchmarks"
PACKAGE = __name__.rsplit(".support", 1)[0]


def own_names() -> list[str]:
    """Names of the benchmarks that come with the package, sorted: the files of the folder."""
    folder = importlib.import_module(PACKAGE).__path__
    return sorted(
        module.name for module in pkgutil.iter_modules(folder) if not module.ispkg and module.name != "base"
    )


def entry_points() -> dict[str, importlib.metadata.EntryPoint]:
    """Name → entry point of the group `ptagrpo.benchmarks` in installed packages."""
    return {point.name: point for point in importlib.metadata.entry_points(group=ENTRY_POINTS)}


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
        return _from_file(Path(name))
    own, others = own_names(), entry_points()
    if name in own:
        return importlib.import_module(f"{PACKAGE}.{name}").SPEC
    if name in others:
        point = others[name]
        try:
            found = point.load()
        except Exception as error:  # another package's code: anything may come of it
            raise ConfigError(
                f"benchmark '{name}': the entry point {point.value} cannot be loaded ({type(error).__name__}: {error})"
            ) from error
        return _spec(found, f"the entry point {point.value}")
    known = sorted({*own, *others})
    raise ConfigError(
        f"no benchmark is called {name!r}; there are {', '.join(known)}, or give a .jsonl file of your own, or a "
        f".py file with a SPEC.{did_you_mean(name, known)}"
    )


def _from_file(path: Path) -> BenchmarkSpec:
    if not path.is_file():
        raise ConfigError(f"benchmark {path}: no such file (working folder: {Path.cwd()})")
    specification = importlib.util.spec_from_file_location(f"ptagrpo_benchmark_{path.stem}", path)
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    try:
        specification.loader.exec_module(module)
    except Exception as error:  # the user's own code: anything may come of it
        raise ConfigError(
            f"benchmark {path}: cannot be imported ({type(error).__name__}: {error})"
        ) from error
    return _spec(module, str(path))


def _spec(found: Any, where: str) -> BenchmarkSpec:
    spec = getattr(found, "SPEC", found)
    if not isinstance(spec, BenchmarkSpec):
        raise ConfigError(
            f"{where}: expected a module with SPEC = BenchmarkSpec(...), got {type(spec).__name__}"
        )
    return spec
