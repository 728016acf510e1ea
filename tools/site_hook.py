"""What mkdocs needs to know of this repository: README.md is the first page, and links to files that are no pages of
the site (code, notebooks) become their names."""

from __future__ import annotations

import re
from pathlib import Path

from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parent.parent
LINK = re.compile(r"(?<!!)\[([^\]]*)\]\(([^)#\s]+)(#[^)\s]*)?\)")


def on_files(files, config):
    """README.md as index.md."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    text = re.sub(r"\]\(docs/", "](", text).replace("](notebooks/", "](../notebooks/")
    files.append(File.generated(config, "index.md", content=text))
    return files


def on_page_markdown(markdown, page, config, files):
    """Only links within the site stay links."""

    def kept(match: re.Match) -> str:
        text, target, _ = match.groups()
        return text if target.startswith("../") else match.group(0)

    return LINK.sub(kept, markdown)
