"""Writing the page: template, style, scripts and data in one HTML file that loads nothing."""

from __future__ import annotations

import time
from html import escape
from importlib import resources
from pathlib import Path

from ..errors import ConfigError
from ..io import atomic_write_text
from .payload import DEFAULT_LIMIT_MB, ChunkCache, payload
from .reading import RunFiles

SCRIPTS = ("dom.js", "data.js", "curves.js", "tree.js", "list.js", "compare.js", "app.js")


def write_page(
    run: str | Path,
    output: str | Path | None = None,
    *,
    limit_mb: float = DEFAULT_LIMIT_MB,
    reload_s: float = 0.0,
    cache: ChunkCache | None = None,
) -> Path:
    """Write the page of a run and return its path.

    Args:
        run: output_dir of a training run, finished or not.
        output: the file; default: view.html in the run's folder.
        limit_mb: megabytes of plan trees in the page; beyond it steps are thinned out evenly.
        reload_s: seconds after which the open page loads itself again; 0: never.
        cache: of an earlier call, to read only files that have changed.

    Raises:
        DataError: there is no run, or its metrics are damaged. ConfigError: a limit that is not positive.
    """
    if not limit_mb > 0:
        raise ConfigError(f"limit_mb: got {limit_mb}, must be more than 0")
    files = RunFiles(Path(run))
    data = payload(files, cache or ChunkCache(), limit_mb)
    folder = resources.files(__package__) / "page"
    text = {
        name: (folder / name).read_text(encoding="utf-8") for name in ("page.html", "style.css", *SCRIPTS)
    }
    parts = {
        "TITLE": escape(files.root.resolve().name),
        "STYLE": text["style.css"],
        "WRITTEN": time.strftime("%Y-%m-%d %H:%M:%S"),
        "RELOAD": f"{reload_s:g}",
        "SCRIPT": "\n".join(text[name] for name in SCRIPTS),
        "HEAD": data["head"],
        "CHUNKS": "\n".join(
            f'<script type="application/octet-stream" id="chunk-{number}">{chunk}</script>'
            for number, chunk in enumerate(data["chunks"])
        ),
    }
    page = text["page.html"]
    for name, value in parts.items():
        before, mark, after = page.partition(f"@{name}@")
        page = before + value + after if mark else page
    path = files.root / "view.html" if output is None else Path(output)
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write_text(path, page)
    return path
