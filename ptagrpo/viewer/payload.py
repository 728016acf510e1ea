"""The data of the page: curves by metric, an index over all plan trees, and the trees of each step, deflated.

The index is small and read at once; the trees of a step are only unpacked when one of them is looked at (or
searched). So the page opens at the same speed whatever lies in it.
"""

from __future__ import annotations

import base64
import json
import warnings
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import DataError
from ..plan_tree import PlanTree
from ..training.step_files import MB, least_needed
from .reading import RunFiles, finite, read_trees

MAX_POINTS = 3000  # of one curve; longer ones are averaged in equal buckets
DEFAULT_LIMIT_MB = 48.0
_BASE64 = 4 / 3


@dataclass
class Chunk:
    """The trees of one step: deflated rows, and what the index has to say about each.

    rows of index: [right, chains, tie (0/1), unclosed chains, mean reward or None].
    """

    step: int
    packed: bytes
    questions: list[tuple[str, Any, str | None]]
    index: list[list[Any]]
    has_tokens: bool


@dataclass
class ChunkCache:
    """Chunks of files that have not changed since they were read: a page written again is written quickly."""

    _known: dict[tuple[Path, int, int], Chunk] = field(default_factory=dict)

    def get(self, step: int, file: Path) -> Chunk | None:
        """The chunk of a file; None, with a warning, if the file cannot be read."""
        try:
            status = file.stat()
            key = (file, status.st_size, status.st_mtime_ns)
            if key not in self._known:
                self._known[key] = make_chunk(step, read_trees(file))
            return self._known[key]
        except (OSError, DataError) as error:
            warnings.warn(f"{error}; this step is left out of the page", RuntimeWarning, stacklevel=2)
            return None


def make_chunk(step: int, trees: Sequence[PlanTree]) -> Chunk:
    """Pack the trees of a step."""
    rows = []
    for tree in trees:
        row = tree.to_row()
        rows.append(row["plans"])
    return Chunk(
        step=step,
        packed=deflate(rows),
        questions=[(tree.id, tree.prompt, tree.answer) for tree in trees],
        index=[_index(tree) for tree in trees],
        has_tokens=any(chain.tokens for tree in trees for chain in tree.chains),
    )


def payload(files: RunFiles, cache: ChunkCache, limit_mb: float = DEFAULT_LIMIT_MB) -> dict[str, Any]:
    """What the page holds: {"head": deflated text, "chunks": [deflated text, ...]}, all base64.

    Args:
        limit_mb: megabytes of the page's trees; steps beyond it are thinned out evenly, first and last stay.
    """
    chunks = {step: cache.get(step, file) for step, file in files.trees.items()}
    kept = thin({step: chunk for step, chunk in chunks.items() if chunk is not None}, limit_mb)
    rows = files.metrics()
    questions: dict[str, int] = {}
    table, trees = [], []
    for number, chunk in enumerate(kept):
        for place, ((name, prompt, answer), facts) in enumerate(
            zip(chunk.questions, chunk.index, strict=True)
        ):
            key = json.dumps([name, prompt, answer], default=str)
            if key not in questions:
                questions[key] = len(table)
                table.append([name, PlanTree(name, prompt, answer, []).question, answer])
            trees.append([number, place, questions[key], *facts])
    head = {
        "name": files.root.resolve().name,
        "step": max([int(row.get("step", 0)) for row in rows] + [chunk.step for chunk in kept], default=0),
        "max_steps": files.max_steps(),
        "curves": curves(rows, files.timings()),
        "steps": [chunk.step for chunk in kept],
        "stored": len(files.trees),
        "tokens": any(chunk.has_tokens for chunk in kept),
        "questions": table,
        "trees": trees,
    }
    return {"head": encode(deflate(head)), "chunks": [encode(chunk.packed) for chunk in kept]}


def thin(chunks: Mapping[int, Chunk], limit_mb: float) -> list[Chunk]:
    """The chunks that fit, in order of steps (see `step_files` for the rule)."""
    kept = dict(sorted(chunks.items()))
    total = sum(len(chunk.packed) for chunk in kept.values()) * _BASE64
    while total > limit_mb * MB:
        step = least_needed(list(kept))
        if step is None:
            break
        total -= len(kept.pop(step).packed) * _BASE64
    return list(kept.values())


def curves(rows: Iterable[Mapping[str, Any]], timings: Iterable[Mapping[str, Any]]) -> dict[str, list[list]]:
    """[steps, values] of every metric that is a number, in order of first report; times under time/."""
    found: dict[str, list[list]] = {}
    named = [(row, "") for row in rows] + [(row, "time/") for row in timings]
    for row, prefix in named:
        for name, value in row.items():
            number = finite(value)
            if name == "step" or number is None:
                continue
            name = name if not prefix else prefix + name.removeprefix("time_").removesuffix("_time")
            series = found.setdefault(name, [[], []])
            series[0].append(row.get("step", len(series[0])))
            series[1].append(number)
    return {name: _shortened(*series) for name, series in found.items()}


def _shortened(steps: list, values: list[float]) -> list[list]:
    size = -(-len(steps) // MAX_POINTS)
    if size > 1:
        parts = range(0, len(values), size)
        steps = [steps[min(start + size, len(steps)) - 1] for start in parts]
        values = [sum(part := values[start : start + size]) / len(part) for start in parts]
    return [steps, [float(f"{value:.6g}") for value in values]]


def _index(tree: PlanTree) -> list[Any]:
    rewards = [chain.reward for chain in tree.chains if chain.reward is not None]
    mean = round(sum(rewards) / len(rewards), 3) if rewards else None
    return [tree.right, len(tree.chains), int(tree.tie), tree.unclosed, mean]


def deflate(value: Any) -> bytes:
    """JSON, deflated (zlib format): what a browser's DecompressionStream("deflate") reads."""
    return zlib.compress(
        json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
    )


def encode(data: bytes) -> str:
    """Base64 text."""
    return base64.b64encode(data).decode("ascii")
