"""The pictures of a row, in whatever form its source has them: paths or the contents of files. None is opened."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def images_of(row: Mapping[str, Any], columns: tuple[str, ...], file: str | None = None) -> list[str | bytes]:
    """The pictures in `columns`, in order; columns without a value are passed over.

    Args:
        row: a value is a path, the contents of a file, {"bytes", "path"} as parquet files and the hub have it, a
            Pillow image (kept as PNG), or a list of these.
        file: where the row comes from; relative paths start in its folder.

    Raises:
        ValueError: anything else, or no contents and no path.

    >>> images_of({"image": "a.png", "images": [b"..."]}, ("image", "images"), "rows/train.jsonl")
    ['rows/a.png', b'...']
    """
    found: list[str | bytes] = []
    for name in columns:
        value = row.get(name)
        for picture in value if isinstance(value, (list, tuple)) else [value]:
            if picture is not None and picture != "":
                found.append(_one(name, picture, file))
    return found


def _one(name: str, value: Any, file: str | None) -> str | bytes:
    if isinstance(value, Mapping):
        value = value.get("bytes") or value.get("path")
    if isinstance(value, bytes):
        return value
    if isinstance(value, (str, os.PathLike)) and str(value):
        return str(value) if file is None else str(Path(file).parent / value)
    if hasattr(value, "save") and hasattr(value, "size"):
        buffer = io.BytesIO()
        value.save(buffer, format="PNG")
        return buffer.getvalue()
    raise ValueError(f"expected a picture in column '{name}' (a path or bytes), got {type(value).__name__}")
