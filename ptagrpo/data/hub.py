"""Data sets of the hub, through the optional package `datasets`. No machine without a network needs it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from ..errors import ConfigError, DataError

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_FILES = (".jsonl", ".ndjson", ".json", ".parquet", ".py")


def looks_like_hub_id(name: str) -> bool:
    """Whether `name` reads as "org/name" and not as the path of a file.

    >>> looks_like_hub_id("openai/gsm8k"), looks_like_hub_id("data/rows.jsonl"), looks_like_hub_id("rows")
    (True, False, False)
    """
    return _HUB_ID.fullmatch(name) is not None and not name.endswith(_FILES)


def hub_rows(
    name: str, config: str | None, split: str, *, streamed: bool = False
) -> Iterator[dict[str, Any]]:
    """The rows of one split. Images stay encoded: {"bytes", "path"}, as parquet files have them.

    Args:
        streamed: fetch rows as they are asked for, instead of the whole split first.

    Raises:
        ConfigError: `datasets` is not installed.   DataError: it cannot load this data set.
    """
    try:
        import datasets
    except ImportError as error:
        raise ConfigError(
            f"'{name}' is not a file here. To read it as a data set of the hub, install the optional package "
            "datasets: pip install 'ptagrpo[data]'"
        ) from error
    try:
        data = datasets.load_dataset(name, config, split=split, **({"streaming": True} if streamed else {}))
        for column, feature in (getattr(data, "features", None) or {}).items():
            if type(feature).__name__ == "Image":
                data = data.cast_column(column, datasets.Image(decode=False))
        for row in data:
            yield dict(row)
    except Exception as error:  # the library raises many kinds; its own message says most
        raise DataError(f"could not load split '{split}' from the hub: {error}", file=name) from error
