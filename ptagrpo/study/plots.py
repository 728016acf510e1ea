"""A study as pictures: results with their differences, and training by responses, tokens and seconds."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..io import atomic_write_bytes
from ..quickstart.report.curves import smooth

COLORS = ("#0b6e5f", "#3d5a98", "#b6792e", "#a83a24", "#7a5195", "#4c8c2b", "#8a6d5a", "#2b8c9e", "#9a8f7c")
_INK, _SOFT, _GRID = "#23262b", "#5d636d", "#e7e3da"
PANELS = (
    ("plan/variance_share", "Share of variance between plans"),
    ("plan/success_spread", "Best minus worst plan of a question"),
    ("plan/hsic_normalized", "Dependence of answers on the truth (HSIC)"),
    ("entropy", "Entropy of the policy, nats"),
    ("completions/mean_length", "Tokens of a response"),
    ("frac_no_outcome_signal", "Groups all right or all wrong"),
)


def _colors(names: Sequence[str]) -> dict[str, str]:
    trained = [name for name in names if name != "start"]
    return {"start": COLORS[-1], **{name: COLORS[i % (len(COLORS) - 1)] for i, name in enumerate(trained)}}


def _dress(axis: Any, title: str, xlabel: str) -> None:
    axis.set_title(title, loc="left", fontsize=11, fontweight="bold", color=_INK, pad=8)
    axis.set_xlabel(xlabel, fontsize=9.5, color=_SOFT)
    axis.tick_params(colors=_SOFT, labelsize=9, length=0)
    axis.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axis.spines[side].set_visible(False)
    axis.spines["bottom"].set_color(_GRID)


def _save(figure: Any, path: Path) -> Path:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=130, facecolor="white")
    atomic_write_bytes(path, buffer.getvalue())
    return path


def _figure(width: float, height: float) -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def draw_results(path: Path, numbers: Mapping[str, Any], title: str) -> Path:
    """Accuracy of each variant with its interval and seeds; differences with theirs."""
    variants, comparisons = numbers["variants"], numbers["comparisons"]
    colors = _colors(list(variants))
    rows = max(len(variants), len(comparisons))
    figure = _figure(12.5 if comparisons else 7.5, 1.7 + 0.42 * rows)
    figure.suptitle(title, x=0.01, ha="left", fontsize=13, fontweight="bold", color=_INK)
    axes = figure.subplots(1, 2 if comparisons else 1, squeeze=False)[0]
    for row, (name, entry) in enumerate(variants.items()):
        accuracy = entry["accuracy"]
        y = len(variants) - 1 - row
        axes[0].plot(
            [100 * accuracy["low"], 100 * accuracy["high"]], [y, y], color=colors[name], linewidth=5, alpha=0.35,
            solid_capstyle="round",
        )  # fmt: skip
        seeds = [100 * value for value in entry["by_seed"]]
        axes[0].plot(seeds, [y] * len(seeds), "o", color=colors[name], markersize=3.5, alpha=0.7)
        axes[0].plot(100 * accuracy["mean"], y, "D", color=colors[name], markersize=8)
    axes[0].set_yticks(range(len(variants)), list(variants)[::-1], color=_INK)
    axes[0].grid(axis="x", color=_GRID)
    axes[0].set_ylim(-0.6, len(variants) - 0.4)
    _dress(axes[0], "Held-out accuracy", "%, with 95 % interval; dots: seeds")
    if comparisons:
        _draw_differences(axes[1], comparisons)
    return _save(figure, path)


def _draw_differences(axis: Any, comparisons: Sequence[Mapping[str, Any]]) -> None:
    labels = []
    for row, entry in enumerate(comparisons):
        difference = entry["difference"]
        y = len(comparisons) - 1 - row
        decided = entry["p_holm"] <= 0.05 and (difference["low"] > 0 or difference["high"] < 0)
        color = _INK if decided else _SOFT
        axis.plot([100 * difference["low"], 100 * difference["high"]], [y, y], color=color, linewidth=2.2)
        face = color if decided else "white"
        axis.plot(100 * difference["mean"], y, "o", color=color, markerfacecolor=face, markersize=7)
        p = "p < 0.001" if entry["p_holm"] < 0.001 else f"p = {entry['p_holm']:.3f}"
        axis.annotate(
            p, (1.0, y), xycoords=("axes fraction", "data"), ha="right",
            va="bottom", fontsize=8.5, color=_SOFT, xytext=(0, 3), textcoords="offset points",
        )  # fmt: skip
        labels.append(f"{entry['a']} − {entry['b']}")
    axis.axvline(0, color=_SOFT, linewidth=1, linestyle=(0, (4, 3)))
    axis.set_yticks(range(len(comparisons)), labels[::-1], color=_INK)
    axis.grid(axis="x", color=_GRID)
    axis.set_ylim(-0.6, len(comparisons) - 0.2)
    axis.margins(x=0.18)
    _dress(axis, "Differences", "points, with 95 % interval; filled: decided (Holm)")


def draw_training(
    path: Path, curves: Mapping[str, Sequence[Sequence[Mapping[str, float]]]], title: str
) -> Path:
    """Right answers in rollouts by responses, tokens and seconds, and six metrics by rollout.

    Args:
        curves: by variant, the curve of each seed (`cell.run_cell`). Lines are means over seeds, bands reach
            from the lowest to the highest seed.
    """
    colors = _colors(list(curves))
    figure = _figure(13.5, 10.5)
    figure.suptitle(title, x=0.01, ha="left", fontsize=13, fontweight="bold", color=_INK)
    axes = figure.subplots(3, 3)
    for axis, (unit, label) in zip(
        axes[0],
        (("responses", "responses sampled"), ("tokens", "tokens, sampled and trained"), ("seconds", "seconds")),
        strict=True,
    ):  # fmt: skip
        for name, seeds in curves.items():
            _band(axis, seeds, unit, "rewards/outcome/mean", name, colors[name])
        axis.grid(axis="y", color=_GRID)
        _dress(axis, f"Right answers by {unit}", label)
    for axis, (metric, label) in zip(axes[1:].ravel(), PANELS, strict=True):
        for name, seeds in curves.items():
            _band(axis, seeds, "step", metric, name, colors[name])
        axis.grid(axis="y", color=_GRID)
        _dress(axis, label, "optimizer steps")
    handles, labels = axes[0][0].get_legend_handles_labels()
    if handles:
        figure.legend(
            handles, labels, loc="outside upper right", ncols=len(labels), frameon=False, fontsize=9.5
        )
    return _save(figure, path)


def _band(
    axis: Any, seeds: Sequence[Sequence[Mapping[str, float]]], x: str, y: str, name: str, color: str
) -> None:
    lines = [[(row[x], row[y]) for row in rows if y in row] for rows in seeds]
    count = min((len(line) for line in lines), default=0)
    if count == 0:
        return
    places = np.mean([[point[0] for point in line[:count]] for line in lines], axis=0)
    span = max(1, count // 15)
    values = np.array([smooth([point[1] for point in line[:count]], span) for line in lines])
    if len(values) > 1:
        axis.fill_between(
            places, values.min(axis=0), values.max(axis=0), color=color, alpha=0.15, linewidth=0
        )
    axis.plot(places, values.mean(axis=0), color=color, linewidth=2, label=name)
