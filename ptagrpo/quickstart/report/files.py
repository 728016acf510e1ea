"""The quickstart's two pictures: curves.png and trees.html, from its summary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...io import atomic_write_text
from ...records import Group
from ..results import paired_sentence, percent, plus_minus, result_rows
from .chains_view import ChainsView
from .curves import draw_curves
from .trees import NumberTable, Stage, Tile, trees_page

if TYPE_CHECKING:
    from ..run import Summary

Rows = Sequence[Mapping[str, Any]]

LEAD = (
    "Ten people each think of a number from 0 to 6; sums wrap around at 7, as weekdays do. A plan names "
    "what the answer needs, from the goal backwards; a chain of thought works it out. The cold start "
    "learned from a teacher that tires and stops its plans early; PTA-GRPO then rewarded answers, and "
    "plans under which answers come out right. Below, the same held-out questions before and after, {m} "
    "plans each and {z} chains under each plan. They are the first ones of a test set, not picked."
)
SMOKE = "A smoke test: far too short for these numbers to mean anything."


def _series(rows: Rows, key: str) -> list[float]:
    return [float(row[key]) for row in rows if key in row]


def write_report(
    root: Path, summary: Summary, metrics: Mapping[str, Rows], trees: Sequence[tuple[str, list[Group]]]
) -> dict[str, Path]:
    """Write curves.png and trees.html to `root`; return their paths by name."""
    models = list(summary.models.values())
    rl = {name: {"accuracy": _series(metrics[key], "rewards/outcome/mean"),
                 "plans": _series(metrics[key], "rewards/plan_right/mean")}
          for name, key in (("PTA-GRPO", "pta_grpo"), ("GRPO", "grpo"))}  # fmt: skip
    curves = draw_curves(
        root / "curves.png", base_loss=_series(metrics["base"], "loss"),
        cold_loss=_series(metrics["cold_start"], "loss"), rl=rl, held_out=models,
        title=f"ptagrpo quickstart, seed {summary.seed}", steps_per_row=(10, 5),
    )  # fmt: skip
    page = root / "trees.html"
    atomic_write_text(page, tree_page(summary, trees))
    return {"curves": curves, "trees": page}


def tree_page(summary: Summary, trees: Sequence[tuple[str, list[Group]]]) -> str:
    """The page of plan trees with the headline numbers above it."""
    models = summary.models
    count = len(models["Cold start"].samples)
    cold, after, flat = models["Cold start"], models["PTA-GRPO"], models["GRPO"]

    def tile(what: str, before: Any, now: Any) -> Tile:
        return Tile(
            what, percent(before.value), percent(now.value), f"{plus_minus(now)} points, {count} questions"
        )

    head, rows = result_rows(list(models.values()))
    notes = {
        "Cold start": "before reinforcement learning",
        "PTA-GRPO": "the same questions, plans and draws keyed alike",
    }
    settings = summary.settings
    foot = [paired_sentence(summary.gain, count), paired_sentence(summary.versus, count)]
    return trees_page(
        [
            Stage(name if name == "Cold start" else f"After {name}", groups, notes.get(name, ""))
            for name, groups in trees
        ],
        title="Plans before and after PTA-GRPO",
        lead=LEAD.format(m=settings.num_plans, z=settings.cots_per_plan),
        view=ChainsView(),
        tiles=[
            tile("Held-out accuracy", cold.accuracy(), after.accuracy()),
            tile("Exactly right plans", cold.plans(), after.plans()),
            tile("GRPO's accuracy, same start and budget", cold.accuracy(), flat.accuracy()),
        ],
        table=NumberTable(
            "Held-out questions, one response each at temperature 1",
            head,
            rows,
            foot + [SMOKE] * summary.quick,
        ),
        footer=f"Made by ptagrpo quickstart, seed {summary.seed}. "
        "Plan reward: softmax over the plans' shares of right chains.",
    )
