"""Where the rows of a benchmark are: a local file, a folder as the hub keeps it, or the hub itself."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import ConfigError, DataError
from ...io import read_jsonl_numbered
from ..base import BenchmarkSpec, Part, Row

SUFFIXES = (".jsonl", ".json", ".parquet")


@dataclass(frozen=True)
class SourceFile:
    """A local file with rows. config: the hub configuration that it belongs to, where its place tells."""

    path: Path
    config: str | None = None


def parts_of(spec: BenchmarkSpec) -> tuple[Part, ...]:
    """The parts of a benchmark; one without a name for a benchmark that is not divided."""
    return spec.parts or (Part(None, spec.hub_split, spec.file),)


def anchor(spec: BenchmarkSpec) -> str:
    """The place of the benchmark's first file below the data folder."""
    return spec.file or parts_of(spec)[0].file


def locate(spec: BenchmarkSpec, path: str | os.PathLike | None) -> list[SourceFile]:
    """The local files to read; none means the hub.

    Args:
        path: a file; or a folder with the benchmark's file, with its parquet files as the hub keeps them
            (`<config>/<split>-*.parquet`), or with both below it. None: the folder that PTAGRPO_DATA names, where
            it has them.

    Raises:
        DataError: `path` is given but has nothing of the benchmark.
    """
    if path is not None:
        given = Path(path)
        if given.is_file():
            return [SourceFile(given)]
        files = _in_folder(spec, given) if given.is_dir() else []
        if not files:
            inside = f" and no {Path(anchor(spec)).name} in that folder" if given.is_dir() else ""
            raise DataError(f"benchmark '{spec.name}': no such file{inside}", file=str(given))
        return files
    folder = os.environ.get("PTAGRPO_DATA")
    return _in_folder(spec, Path(folder)) if folder else []


def _in_folder(spec: BenchmarkSpec, folder: Path) -> list[SourceFile]:
    """All files of the benchmark in `folder`; none if a part is missing."""
    if spec.file:
        for candidate in (folder / Path(spec.file).name, folder / spec.file):
            if candidate.is_file():
                return [SourceFile(candidate)]
    name = spec.hub_id.rpartition("/")[2]
    for base in (folder, folder / Path(anchor(spec)).parent, folder / spec.hub_id, folder / name):
        files: list[SourceFile] = []
        for part in parts_of(spec):
            found = _part_files(part, base)
            files += found
            if not found:
                break
        else:
            return files
    return []


def _part_files(part: Part, base: Path) -> list[SourceFile]:
    if part.file and (base / Path(part.file).name).is_file():
        return [SourceFile(base / Path(part.file).name, part.config)]
    for folder in (base / part.config,) if part.config else (base / "data", base):
        found = sorted(folder.glob(f"{part.split}-*.parquet")) or sorted(folder.glob(f"{part.split}.parquet"))
        if found:
            return [SourceFile(path, part.config) for path in found]
    return []


def file_rows(source: SourceFile) -> Iterator[tuple[int, Row]]:
    """Numbered rows of a local file (the line of JSONL, else the row; 1-based). Paths of images are made those of
    files beside it.

    Raises:
        DataError: not readable.   ConfigError: parquet without pyarrow.
    """
    suffix = source.path.suffix.lower()
    if suffix == ".parquet":
        rows: Iterable[tuple[int, Row]] = enumerate(_parquet(source.path), start=1)
    elif suffix == ".json":
        rows = enumerate(_json(source.path), start=1)
    else:
        rows = read_jsonl_numbered(source.path)
    for number, row in rows:
        yield number, (row if source.config is None else {"config": source.config, **row})


def _parquet(path: Path) -> Iterator[Row]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise ConfigError(
            f"{path}: reading parquet needs the optional package pyarrow: pip install 'ptagrpo[data]'"
        ) from error
    try:
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=64):
                yield from batch.to_pylist()
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"expected a parquet file: {error}", file=str(path)) from error


def _json(path: Path) -> Iterator[Row]:
    try:
        rows = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise DataError(f"expected a JSON array of objects: {error}", file=str(path)) from error
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise DataError("expected a JSON array of objects", file=str(path))
    yield from rows


def hub_rows(spec: BenchmarkSpec) -> Iterator[tuple[int, Row]]:
    """Numbered rows (1-based) from the hub; images stay undecoded.

    Raises:
        ConfigError: `datasets` is not installed.   DataError: the hub cannot be reached, or lacks the set.
    """
    advice = f"a folder that has {anchor(spec)} in the variable PTAGRPO_DATA"
    try:
        import datasets
    except ImportError as error:
        raise ConfigError(
            f"benchmark '{spec.name}': reading {spec.hub_id} from the hub needs the package 'datasets': "
            f"pip install 'ptagrpo[data]'. Or give a local file with path=, or {advice}."
        ) from error
    number = 0
    for part in parts_of(spec):
        chosen = (spec.hub_id,) if part.config is None else (spec.hub_id, part.config)
        try:
            rows: Any = datasets.load_dataset(*chosen, split=part.split)
            for name, feature in (getattr(rows, "features", None) or {}).items():
                if isinstance(feature, datasets.Image):
                    rows = rows.cast_column(name, datasets.Image(decode=False))
        except Exception as error:  # the library raises a dozen kinds, from no network to no such set
            raise DataError(
                f"benchmark '{spec.name}': cannot be loaded from the hub ({type(error).__name__}: {error}). "
                f"Without a network give a local file with path=, or {advice}.",
                file=spec.hub_id,
            ) from error
        for row in rows:
            number += 1
            yield number, (row if part.config is None else {"config": part.config, **row})


def image_sources(row: Row, columns: tuple[str, ...], folder: Path | None) -> list[str | bytes]:
    """The images of a row: of each column a path (made one in `folder` where it is relative), the contents of a file,
    or a mapping `{bytes, path}` as `datasets` and parquet have them; columns without a value are passed over.

    Raises:
        ValueError: anything else.
    """
    images: list[str | bytes] = []
    for name in columns:
        value = row.get(name)
        if isinstance(value, dict):
            value = value.get("bytes") or value.get("path")
        if value is None or value == "":
            continue
        if isinstance(value, str):
            images.append(str(folder / value) if folder is not None else value)
        elif isinstance(value, bytes):
            images.append(value)
        else:
            raise ValueError(f"expected an image in '{name}' (a path or bytes), got {type(value).__name__}")
    return images
