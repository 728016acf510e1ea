"""A study from its file to its report. All of it resumes: the same command goes on where it was."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ..io import atomic_write_json, atomic_write_text
from . import tables
from .analysis import analyse
from .cell import RESULT, Task, cell_folder, configurations, run_cell
from .chains_task import ChainsTask
from .data_task import DataTask
from .plots import draw_results, draw_training
from .spec import StudySpec, Variant
from .variants import START, Pairs


def make_task(spec: StudySpec, load_reward: Callable[[str], Any] = lambda name: name) -> Task:
    """What the study is about.

    Args:
        load_reward: turns the names of reward functions into functions.
    """
    if spec.task == "chains":
        return ChainsTask(spec.chains, Path(spec.output_dir), progress=False)
    return DataTask(spec.data, load_reward)


def run_study(
    spec: StudySpec,
    variants: Sequence[Variant],
    pairs: Pairs,
    *,
    title: str,
    task: Task | None = None,
    say: Callable[[str], Any] = print,
) -> dict[str, Any]:
    """Run all cells that are not finished, seed by seed, and write the report.

    Every variant's settings are checked before the first cell runs. `START`, the model before training, is
    evaluated beside them.

    Returns:
        The numbers of `analysis.analyse`, also written to results.json; report.md, results.png and
        training.png stand beside it.

    Raises:
        ConfigError: settings that contradict each other, or a folder with results of others.
    """
    root = Path(spec.output_dir)
    task = make_task(spec) if task is None else task
    configurations(spec, variants, task)
    everything = [START, *variants]
    cells = [(seed, variant) for seed in range(spec.seeds) for variant in everything]
    done = sum((cell_folder(root, variant, seed) / RESULT).exists() for seed, variant in cells)
    say(f"{title}: {len(cells)} cells ({spec.seeds} seeds), {done} finished; folder {root}")
    results: dict[str, list[dict[str, Any]]] = {variant.name: [] for variant in everything}
    for number, (seed, variant) in enumerate(cells, start=1):
        result = run_cell(spec, task, variant, seed)
        results[variant.name].append(result)
        found = result["evaluation"]["accuracy"]
        remarks = f", {len(result['warnings'])} warnings" if result["warnings"] else ""
        share = 100 * sum(found) / len(found)
        say(f"  {number} of {len(cells)}: {variant.name}, seed {seed}: {share:.1f} %{remarks}")
    numbers = analyse(results, pairs)
    numbers["title"] = title
    _report(root, numbers, results, title)
    return numbers


def _report(
    root: Path, numbers: dict[str, Any], results: dict[str, list[dict[str, Any]]], title: str
) -> None:
    curves = {name: [cell["curve"] for cell in cells] for name, cells in results.items()}
    draw_results(root / "results.png", numbers, title)
    draw_training(root / "training.png", {n: c for n, c in curves.items() if any(c)}, title)
    atomic_write_text(root / "report.md", tables.markdown(numbers, title, ["results.png", "training.png"]))
    atomic_write_json(root / "results.json", numbers)
