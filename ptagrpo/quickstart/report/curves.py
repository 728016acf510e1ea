"""One PNG of four panels: learning the skill, reward and accuracy during RL, and the held-out result by
difficulty."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from ...io import atomic_write_bytes
from ..results import HeldOut

COLORS = {"Base": "#9a8f7c", "Cold start": "#b6792e", "PTA-GRPO": "#0b6e5f", "GRPO": "#3d5a98"}
_INK, _SOFT, _GRID = "#23262b", "#5d636d", "#e7e3da"


def smooth(values: Sequence[float], span: int) -> list[float]:
    """Running mean over the last `span` values (fewer at the start).

    >>> smooth([0.0, 2.0, 4.0], 2)
    [0.0, 1.0, 3.0]
    """
    out, total = [], 0.0
    for i, value in enumerate(values):
        total += value - (values[i - span] if i >= span else 0.0)
        out.append(total / min(i + 1, span))
    return out


def _curve(
    axis, steps: Sequence[float], values: Sequence[float], name: str, *, span: int, color: str
) -> None:
    """The raw values faint, their running mean in full."""
    if not values:
        return
    axis.plot(steps, values, color=color, alpha=0.22, linewidth=1)
    axis.plot(steps, smooth(values, span), color=color, linewidth=2.2, label=name)


def _dress(axis, title: str, xlabel: str) -> None:
    axis.set_title(title, loc="left", fontsize=11.5, fontweight="bold", color=_INK, pad=9)
    axis.set_xlabel(xlabel, fontsize=9.5, color=_SOFT)
    axis.grid(axis="y", color=_GRID, linewidth=0.9)
    axis.set_axisbelow(True)
    axis.tick_params(colors=_SOFT, labelsize=9, length=0)
    for side in ("top", "right", "left"):
        axis.spines[side].set_visible(False)
    axis.spines["bottom"].set_color(_GRID)


def draw_curves(
    path: str | Path,
    *,
    base_loss: Sequence[float],
    cold_loss: Sequence[float],
    rl: Mapping[str, Mapping[str, Sequence[float]]],
    held_out: Sequence[HeldOut],
    title: str,
    steps_per_row: tuple[int, int] = (1, 1),
) -> Path:
    """Write the picture to `path` (PNG, 1800 × 1200 pixels) and return it.

    Args:
        base_loss, cold_loss: training loss (nats a token) at each logged step of the two supervised stages.
        rl: for each algorithm, series over RL steps: "accuracy" (share of right rollouts, 0 to 1) and, where
            it was measured, "plans" (share of rollouts with an exactly right plan).
        held_out: models in the order of their bars.
        title: one line above all.
        steps_per_row: optimizer steps that one value of the two losses stands for.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    figure = Figure(figsize=(12, 8), dpi=150, facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, 2)
    figure.suptitle(title, x=0.055, y=0.975, ha="left", fontsize=14.5, fontweight="bold", color=_INK)

    axis = axes[0][0]
    _curve(
        axis,
        [steps_per_row[0] * (i + 1) for i in range(len(base_loss))],
        base_loss,
        "base",
        span=max(1, len(base_loss) // 60),
        color=COLORS["Base"],
    )
    start = steps_per_row[0] * len(base_loss)
    cold_at = [start + steps_per_row[1] * (i + 1) for i in range(len(cold_loss))]
    _curve(
        axis, cold_at, cold_loss, "cold start", span=max(1, len(cold_loss) // 12), color=COLORS["Cold start"]
    )
    _dress(
        axis,
        "Supervised loss (nats a token)",
        "optimizer steps: the base, then the cold start on a tiring teacher",
    )
    axis.set_ylim(bottom=0)
    if base_loss or cold_loss:
        axis.legend(frameon=False, fontsize=9.5)

    for axis, key, heading in (
        (axes[0][1], "accuracy", "Right answers in training rollouts"),
        (axes[1][0], "plans", "Exactly right plans in training rollouts"),
    ):
        for name, series in rl.items():
            values = series.get(key, [])
            _curve(axis, range(1, len(values) + 1), values, name, span=5, color=COLORS.get(name, _SOFT))
        _dress(axis, heading, "rollouts (faint: each one; full: mean of five)")
        axis.set_ylim(0, 1)
        axis.yaxis.set_major_formatter(PercentFormatter(1.0))
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        if axis.get_legend_handles_labels()[1]:
            axis.legend(frameon=False, fontsize=9.5, loc="lower right")

    axis = axes[1][1]
    lengths = held_out[0].lengths() if held_out else []
    groups = [*lengths, None]
    width = 0.8 / max(1, len(held_out))
    for i, model in enumerate(held_out):
        shares = [model.accuracy(k) for k in groups]
        at = [x - 0.4 + (i + 0.5) * width for x in range(len(groups))]
        low = [max(0.0, s.value - s.interval[0]) for s in shares]
        high = [max(0.0, s.interval[1] - s.value) for s in shares]
        axis.bar(
            at, [s.value for s in shares], width * 0.88, color=COLORS.get(model.name, _SOFT), label=model.name
        )
        axis.errorbar(
            at,
            [s.value for s in shares],
            yerr=[low, high],
            fmt="none",
            ecolor=_INK,
            elinewidth=1,
            capsize=2.2,
        )
    _dress(axis, "Held-out accuracy by difficulty", "needed quantities (bars: 95 % intervals)")
    axis.set_xticks(range(len(groups)), [str(k) for k in lengths] + ["all"])
    axis.set_ylim(0, 1.0)
    axis.yaxis.set_major_formatter(PercentFormatter(1.0))
    if held_out:
        axis.legend(
            frameon=False, fontsize=9.5, ncols=len(held_out), loc="upper center", bbox_to_anchor=(0.5, -0.17)
        )
    figure.subplots_adjust(left=0.06, right=0.98, top=0.88, bottom=0.12, hspace=0.42, wspace=0.14)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    atomic_write_bytes(path, buffer.getvalue())
    return Path(path)
