"""The files that a run writes step by step for people (trees/, completions/): bounded, thinned, dropped.

Nothing of training depends on them: a file that cannot be written is a warning, not the end of the run.

A folder is kept under a limit by thinning: while it is over the limit, the file whose neighbours are nearest
to each other in steps goes, the oldest of several; the first and the newest always stay. What remains is
spread evenly over the run, however long it is.
"""

from __future__ import annotations

import gzip
import json
import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..io import atomic_write_bytes

MB = 1_000_000
FOLDERS = ("completions", "trees")
_NAME = re.compile(r"[a-z]+_(\d+)\.jsonl(?:\.gz)?")


def list_steps(folder: Path) -> dict[int, Path]:
    """The files of a folder by step, in order. Where a step has two, the compressed one."""
    found: dict[int, Path] = {}
    for file in sorted(folder.glob("*.jsonl*")) if folder.is_dir() else ():
        match = _NAME.fullmatch(file.name)
        if match and not file.name.startswith("."):
            found[int(match[1])] = file
    return dict(sorted(found.items()))


def drop_after(folder: Path, step: int) -> None:
    """Remove the files of later steps, and what a killed writer left."""
    for file in folder.glob("*.jsonl*") if folder.is_dir() else ():
        match = _NAME.fullmatch(file.name)
        if match and int(match[1]) > step:
            file.unlink(missing_ok=True)
    for file in folder.glob(".*.tmp") if folder.is_dir() else ():
        file.unlink(missing_ok=True)


def least_needed(steps: Sequence[int]) -> int | None:
    """The step to give up first when thinning (ascending `steps`); None where there are fewer than three.

    >>> least_needed([1, 2, 3, 4]), least_needed([1, 3, 4, 9]), least_needed([1, 2])
    (2, 3, None)
    """
    if len(steps) < 3:
        return None
    gaps = [steps[i + 1] - steps[i - 1] for i in range(1, len(steps) - 1)]
    return steps[1 + gaps.index(min(gaps))]


class StepFiles:
    """Writes one folder of an output folder.

    Args:
        name: "trees" or "completions"; also the beginning of the files' names.
        limit_mb: megabytes (10^6 bytes) that the folder may take; at least two files are kept.
        compress: gzip.
    """

    def __init__(self, root: Path, name: str, limit_mb: float, *, compress: bool):
        self.folder = root / name
        self._name, self._limit, self._compress = name, limit_mb * MB, compress
        self._sizes: dict[int, int] | None = None
        self._failed = False

    def path(self, step: int) -> Path:
        """The file of a step, there or not."""
        return self.folder / f"{self._name}_{step:05d}.jsonl{'.gz' if self._compress else ''}"

    def write(self, step: int, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write the rows of a step, and thin the folder. Not fsynced; a failure warns once."""
        data = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode("utf-8", "replace")
        if self._compress:
            data = gzip.compress(data, 6, mtime=0)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if self._sizes is None:
                self._sizes = {at: file.stat().st_size for at, file in list_steps(self.folder).items()}
            atomic_write_bytes(self.path(step), data, sync=False)
            self._sizes[step] = len(data)
            self._thin()
        except OSError as error:
            self._sizes = None
            if not self._failed:
                self._failed = True
                warnings.warn(
                    f"{self.folder}: step {step} could not be stored ({error}). Training goes on; later "
                    "failures of this folder are not reported",
                    RuntimeWarning,
                    stacklevel=2,
                )

    def forget(self) -> None:
        """Look at the folder anew before the next write: others may have changed it."""
        self._sizes = None

    def _thin(self) -> None:
        while sum(self._sizes.values()) > self._limit:
            step = least_needed(sorted(self._sizes))
            if step is None:
                return
            for file in (self.path(step), list_steps(self.folder).get(step)):
                if file is not None:
                    file.unlink(missing_ok=True)
            del self._sizes[step]
