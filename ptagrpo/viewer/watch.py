"""Writing the page again whenever the run has written something."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .page import write_page
from .payload import DEFAULT_LIMIT_MB, ChunkCache
from .reading import RunFiles


def watch(
    run: str | Path,
    output: str | Path | None = None,
    *,
    interval: float = 10.0,
    limit_mb: float = DEFAULT_LIMIT_MB,
    wrote: Callable[[Path], Any] = lambda path: None,
) -> Path:
    """Write the page now and after every change, until Ctrl-C; then once more, without its self-loading.

    Args:
        interval: seconds between two looks; the open page loads itself again as often.
        wrote: told the path after each writing.

    Returns:
        The page's path.

    Raises:
        DataError: as `write_page`.
    """
    cache, seen = ChunkCache(), None
    try:
        while True:
            found = RunFiles(Path(run)).signature()
            if found != seen:
                wrote(write_page(run, output, limit_mb=limit_mb, reload_s=interval, cache=cache))
                seen = found
            time.sleep(interval)
    except KeyboardInterrupt:
        return write_page(run, output, limit_mb=limit_mb, cache=cache)
