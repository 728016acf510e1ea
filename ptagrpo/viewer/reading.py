"""Reading the files of a run that may be writing them at this moment, or have been killed while it did."""

from __future__ import annotations

import gzip
import json
import math
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import DataError
from ..plan_tree import PlanTree
from ..training.step_files import list_steps

METRICS, TIMINGS, STATE = "metrics.jsonl", "timings.jsonl", "trainer_state.json"


@dataclass
class RunFiles:
    """The files of one run folder.

    Attributes:
        root: the folder. trees: file of each stored step, in order of steps.

    Raises:
        DataError: the folder holds no run; names the runs below it, if there are any.
    """

    root: Path
    trees: dict[int, Path] = field(init=False)

    def __post_init__(self) -> None:
        self.root = Path(self.root)
        self.trees = list_steps(self.root / "trees")
        if self.trees or (self.root / METRICS).is_file():
            return
        if not self.root.is_dir():
            what = "is a file" if self.root.exists() else "there is no such folder"
            raise DataError(f"{what}. Give the output_dir of a training run", file=str(self.root))
        below = sorted({path.parent.name for path in self.root.glob(f"*/{METRICS}")})
        hint = f"; runs below it: {', '.join(below)}" if below else ""
        raise DataError(
            f"is no folder of a run: it has neither {METRICS} nor trees/{hint}. Give the output_dir of a "
            "training run",
            file=str(self.root),
        )

    def metrics(self) -> list[dict[str, Any]]:
        """The rows of metrics.jsonl."""
        return read_log(self.root / METRICS)

    def timings(self) -> list[dict[str, Any]]:
        """The rows of timings.jsonl."""
        return read_log(self.root / TIMINGS)

    def max_steps(self) -> int | None:
        """Steps that the run is to make, as its newest checkpoint says; None: not known."""
        for folder in sorted(self.root.glob("checkpoint-*"), key=lambda path: path.stat().st_mtime)[::-1]:
            try:
                return int(json.loads((folder / STATE).read_text(encoding="utf-8"))["max_steps"])
            except (OSError, ValueError, KeyError, TypeError):
                continue
        return None

    def signature(self) -> tuple[Any, ...]:
        """Changes whenever a file that is shown does."""
        files = [self.root / METRICS, self.root / TIMINGS, *self.trees.values()]
        found = []
        for file in files:
            try:
                status = file.stat()
            except OSError:
                continue
            found.append((file.name, status.st_size, status.st_mtime_ns))
        return tuple(found)


def read_log(path: Path) -> list[dict[str, Any]]:
    """The rows of a JSONL file that somebody may be appending to; an unfinished last line is left out.

    Raises:
        DataError: another line is broken.
    """
    if not path.is_file():
        return []
    data = path.read_bytes()
    rows = []
    for number, line in enumerate(data[: data.rfind(b"\n") + 1].splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise DataError(f"not a JSON line: {error}", file=str(path), line=number) from error
        if isinstance(row, dict):
            rows.append(row)
    return rows


def read_trees(path: Path) -> list[PlanTree]:
    """The plan trees of one step.

    Raises:
        DataError: the file is damaged, or is not one of plan trees.
    """
    try:
        data = path.read_bytes()
        text = gzip.decompress(data) if path.suffix == ".gz" else data
        return [PlanTree.from_row(json.loads(line)) for line in text.splitlines() if line.strip()]
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise DataError(f"cannot be read: {error}", file=str(path)) from error
    except DataError as error:
        raise DataError(str(error), file=str(path)) from error


def load_trees(run: str | Path, step: int | None = None) -> list[PlanTree]:
    """The plan trees that a training run has stored.

    Args:
        run: the run's output_dir.
        step: only the rollout that began at this step; None: all stored ones, in order.

    Raises:
        DataError: no run there, nothing stored for that step (names the nearest), or a damaged file.
    """
    files = RunFiles(Path(run))
    if step is None:
        return [tree for file in files.trees.values() for tree in read_trees(file)]
    if step not in files.trees:
        near = min(files.trees, key=lambda at: abs(at - step), default=None)
        hint = "none is stored at all" if near is None else f"the nearest that is: {near}"
        raise DataError(f"no trees are stored for step {step}; {hint}", file=str(files.root))
    return read_trees(files.trees[step])


def finite(value: Any) -> float | None:
    """A number as float, or None where it is none or not finite."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if number else None
