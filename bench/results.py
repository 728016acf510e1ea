"""What rows return, and what is made of it: a table, a JSON file, a page of documentation, a chart."""

from __future__ import annotations

import json
import platform
import subprocess
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "bench" / "results"
DOCS = ROOT / "docs" / "performance.md"
BEGIN, END = "<!-- table: begin (written by python -m bench --write-docs) -->", "<!-- table: end -->"


@dataclass(frozen=True)
class Result:
    """One figure measured. `value` is compared with `goal`: at least it, or at most it where `at_most`.

    row, figure: name of the row, number in the issue's table. what: in words. ours, peer, peak: in `unit`, None where
    there is none. value: None when it could not be measured (`note` says why): then the figure does not hold.
    goal: None when a figure is only reported.
    """

    row: str
    figure: int
    what: str
    value: float | None
    goal: float | None
    unit: str = ""
    ours: float | None = None
    peer: float | None = None
    peer_name: str = ""
    peak: float | None = None
    at_most: bool = False
    note: str = ""
    commit: str = ""  # of what was measured, where that may be earlier than the file's

    @property
    def holds(self) -> bool:
        """Whether the goal is reached; a figure without one always holds."""
        if self.goal is None:
            return True
        if self.value is None:
            return False
        return self.value <= self.goal if self.at_most else self.value >= self.goal

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "holds": self.holds}


def commit() -> str:
    """The last commit that changed what is measured, with "+" where the files differ from it; empty without git."""
    measured = ["csrc", "ptagrpo", "setup.py"]
    commands = (["log", "-1", "--format=%h", "--", *measured], ["status", "--porcelain", "--", *measured])
    try:
        found = [subprocess.run(["git", *command], cwd=ROOT, capture_output=True, text=True, check=True).stdout
                 for command in commands]  # fmt: skip
    except (OSError, subprocess.CalledProcessError):
        return ""
    return found[0].strip() + "+" * bool(found[1])


def machine() -> dict[str, Any]:
    """CPU, threads, versions, commit and date."""
    import ptagrpo

    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        model = names[0].partition(":")[2].strip() if names else model
    return {
        "cpu": model,
        "python": platform.python_version(),
        "date": time.strftime("%Y-%m-%d"),
        "commit": commit(),
        **ptagrpo.build_info(),
    }


def write_json(path: Path, results: Sequence[Result], about: Mapping[str, Any], quick: bool) -> None:
    """The file of a run: {machine, quick, results}."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = {"machine": dict(about), "quick": quick, "results": [result.as_dict() for result in results]}
    path.write_text(json.dumps(data, indent=1) + "\n")


def load(folder: Path = RESULTS) -> list[dict[str, Any]]:
    """The results of all files `row-*.json` that are not quick runs, by figure."""
    found = []
    for path in sorted(folder.glob("row-*.json")):
        data = json.loads(path.read_text())
        if not data["quick"]:
            found += [{**result, "machine": data["machine"]} for result in data["results"]]
    return sorted(found, key=lambda result: (result["figure"], result["row"]))


def number(value: float | None) -> str:
    """Three significant digits, or a dash."""
    return "–" if value is None else f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"


HEADINGS = ("figure", "what", "ours", "peer", "peak", "value", "goal", "holds")


def cells(result: Mapping[str, Any]) -> list[str]:
    """One row of the table, in the order of HEADINGS."""
    unit = f" {result['unit']}" if result["unit"] else ""
    peer = number(result["peer"]) + (f" ({result['peer_name']})" if result["peer_name"] else "")
    sign = "≤" if result["at_most"] else "≥"
    goal = "report" if result["goal"] is None else f"{sign} {number(result['goal'])}"
    holds = "yes" if result["holds"] else f"no: {result['note']}" if result["note"] else "no"
    return [str(result["figure"]), result["what"], number(result["ours"]) + unit, peer, number(result["peak"]),
            number(result["value"]), goal, "" if result["goal"] is None else holds]  # fmt: skip


def print_table(results: Sequence[Result]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(*HEADINGS)
    for result in results:
        table.add_row(*cells(result.as_dict()), style=None if result.holds else "red")
    Console().print(table)


def write_docs(docs: Path = DOCS, folder: Path = RESULTS, rows: Collection[str] = ()) -> None:
    """Put the table of the stored results between the markers of docs/performance.md, and which of `rows` have none."""
    results = load(folder)
    headings = (*HEADINGS, "commit", "rounds")
    lines = ["| " + " | ".join(headings) + " |", "|---" * len(headings) + "|"]
    for result in results:
        origin = [
            result.get("commit") or str(result["machine"].get("commit", "")),
            str(result["machine"].get("rounds", "")),
        ]
        lines.append("| " + " | ".join([*cells(result), *origin]) + " |")
    machines: dict[str, list[str]] = {}
    for result in results:
        rows_there = machines.setdefault("{cpu}, {threads} threads, {date}".format(**result["machine"]), [])
        rows_there += [result["row"]] if result["row"] not in rows_there else []
    text = docs.read_text(encoding="utf-8")
    head, tail = text.split(BEGIN)[0], text.split(END)[1]
    missing = sorted(set(rows) - {result["row"] for result in results})
    where = [f"{machine} ({', '.join(sorted(machines[machine]))})" for machine in sorted(machines)]
    notes = ["", "Measured on: " + "; ".join(where) + "."]
    notes += ["", "Rows without a stored measurement: " + ", ".join(missing) + "."] if missing else []
    body = "\n".join([*lines, *notes])
    docs.write_text(f"{head}{BEGIN}\n{body}\n{END}{tail}", encoding="utf-8")


def draw_chart(path: Path, folder: Path = RESULTS) -> None:
    """Bars of ours against the peer, for the figures that have one and are ratios to it."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    results = [
        r for r in load(folder) if r["peer"] and r["ours"] and r["value"] is not None and not r["at_most"]
    ]
    if not results:
        raise SystemExit("bench: no stored result has a peer; run rows first")
    figure, axes = plt.subplots(figsize=(8, 0.9 + 0.42 * len(results)), facecolor="white")
    labels = [f"{r['what']}\nagainst {r['peer_name']}" for r in results]
    values = [r["ours"] / r["peer"] for r in results]
    bars = axes.barh(labels, values, color="#2a6f97")
    axes.bar_label(bars, [f"{value:.2f} ×" for value in values], padding=4)
    axes.axvline(1, color="#444444", linewidth=1)
    axes.invert_yaxis()
    axes.set_xlim(0, 1.15 * max(1, *values))
    axes.set_xlabel("speed relative to the peer")
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(axis="y", labelsize=8)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    plt.close(figure)
