"""From a path or a hub id to a local folder."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from ..errors import CheckpointError

REPO_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
# What a model folder needs; leaves out pickles, other frameworks' weights and images.
ALLOW_PATTERNS = (
    "config.json",
    "generation_config.json",
    "*.safetensors",
    "*.safetensors.index.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
    "chat_template.json",
)


def resolve_folder(
    path_or_repo: str | os.PathLike,
    *,
    revision: str | None = None,
    token: str | bool | None = None,
    local_files_only: bool = False,
    cache_dir: str | os.PathLike | None = None,
    patterns: Sequence[str] = ALLOW_PATTERNS,
) -> Path:
    """Return the folder of a model: `path_or_repo` itself when it is a folder, else a snapshot of the hub's
    repository.

    Args:
        path_or_repo: a folder, or a hub id "organisation/name".
        revision: branch, tag or commit on the hub.
        token: access token; None uses the one that `huggingface_hub` keeps, False none.
        local_files_only: use what the hub's cache already has, never the network.
        cache_dir: where `huggingface_hub` keeps its files. patterns: names of the files that are fetched from the hub.

    Raises:
        CheckpointError: there is no such folder and it is not a hub id, or the hub cannot deliver it.
    """
    name = os.fspath(path_or_repo)
    path = Path(name).expanduser()
    if name and path.is_dir():
        return path
    if name and path.exists():
        raise CheckpointError(f"{name}: is a file; expected the folder of a model (with config.json)")
    if not REPO_ID.fullmatch(name) or ".." in name or "--" in name:
        raise CheckpointError(f"{name}: no such folder, and it is not a hub id of the form organisation/name")
    import huggingface_hub

    try:
        folder = huggingface_hub.snapshot_download(
            name,
            revision=revision,
            token=token,
            local_files_only=local_files_only,
            cache_dir=cache_dir,
            allow_patterns=list(patterns),
        )
    except Exception as error:  # the library raises many kinds, those of its HTTP library among them
        where = "the local cache" if local_files_only else "the hub"
        at = f" at revision {revision!r}" if revision else ""
        reason = (str(error).splitlines() or [""])[0]
        raise CheckpointError(
            f"{name}: no such folder here, and {where} does not deliver it{at} ({type(error).__name__}: {reason}). "
            "Is the name right?"
        ) from error
    return Path(folder)
