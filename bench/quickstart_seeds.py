"""Five quickstarts with five seeds: does reinforcement learning improve held-out accuracy every time?

    python bench/quickstart_seeds.py            # some ten minutes on two idle cores
    python bench/quickstart_seeds.py --report   # write the table again from
    bench/results/quickstart_seeds.json

Writes bench/results/quickstart_seeds.json after every seed (a seed that is there is not run again; --fresh
forgets them) and the table in docs/quickstart.md between its markers.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "bench" / "results" / "quickstart_seeds.json"
DOCS = ROOT / "docs" / "quickstart.md"
BEGIN, END = "<!-- seeds: begin (written by bench/quickstart_seeds.py) -->", "<!-- seeds: end -->"


def run_seed(seed: int) -> dict[str, Any]:
    """One quickstart in a folder of its own, which is deleted; its summary with machine and load."""
    import ptagrpo
    from ptagrpo.quickstart import run_quickstart

    load_before, cpu_before = os.getloadavg()[0], time.process_time()
    with tempfile.TemporaryDirectory(prefix="quickstart-seed-") as folder:
        summary = run_quickstart(Path(folder) / "run", seed=seed, progress=sys.stderr.isatty()).as_dict()
    info = ptagrpo.build_info()
    summary["machine"] = {
        "cores": os.cpu_count(),
        "platform": platform.machine(),
        "python": platform.python_version(),
        "threads": info["threads"],
        "simd": info["simd"],
        "blas": info["blas"],
        "load_before": load_before,
        "load_after": os.getloadavg()[0],
        "cpu_seconds": time.process_time() - cpu_before,
    }
    return summary


def points(pair: dict[str, Any]) -> str:
    """A paired difference in points with its interval."""
    return f"{100 * pair['difference']:+.1f} ({100 * pair['low']:+.1f} to {100 * pair['high']:+.1f})"


def share(entry: dict[str, Any]) -> str:
    """A share in per cent with half its interval."""
    low, high = entry["interval95"]
    return f"{100 * entry['value']:.1f} ± {50 * (high - low):.1f}"


def table(runs: list[dict[str, Any]]) -> str:
    """The Markdown between the markers."""
    lines = [
        "| seed | base | cold start | PTA-GRPO | GRPO | PTA-GRPO − cold start | GRPO − cold start "
        "| PTA-GRPO − GRPO | wall | CPU |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for run in runs:
        held = run["held_out"]
        cells = [share(held[name]["accuracy"]) for name in ("Base", "Cold start", "PTA-GRPO", "GRPO")]
        pairs = [
            points(run[key])
            for key in ("pta_grpo_minus_cold_start", "grpo_minus_cold_start", "pta_grpo_minus_grpo")
        ]
        cpu = run["machine"].get("cpu_seconds")
        times = f"{sum(run['seconds'].values()):.0f} s | " + ("–" if cpu is None else f"{cpu:.0f} s")
        lines.append(f"| {run['seed']} | " + " | ".join([*cells, *pairs, times]) + " |")
    count = runs[0]["held_out"]["Base"]["questions"]
    lines += [
        "",
        "Exactly right plans (%), tokens of a response, right answers of the base under a right plan (%):",
        "",
        "| seed | plans: base | cold start | PTA-GRPO | GRPO | tokens: cold start | PTA-GRPO | GRPO "
        "| under a right plan | extra rounds |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for run in runs:
        held = run["held_out"]
        plans = [share(held[name]["plans_right"]) for name in ("Base", "Cold start", "PTA-GRPO", "GRPO")]
        tokens = [f"{held[name]['mean_tokens']:.1f}" for name in ("Cold start", "PTA-GRPO", "GRPO")]
        reasoning = f"{100 * run['base_reasoning_under_right_plan']['value']:.1f}"
        lines.append(
            f"| {run['seed']} | "
            + " | ".join([*plans, *tokens, reasoning, str(run["extra_base_rounds"])])
            + " |"
        )
    clear = sum(run["pta_grpo_minus_cold_start"]["low"] > 0 for run in runs)
    clear_flat = sum(run["grpo_minus_cold_start"]["low"] > 0 for run in runs)
    ahead = [run["pta_grpo_minus_grpo"] for run in runs]
    wins = sum(pair["low"] > 0 for pair in ahead)
    losses = sum(pair["high"] < 0 for pair in ahead)
    mean = sum(pair["difference"] for pair in ahead) / len(ahead)
    loads = [max(run["machine"]["load_before"], run["machine"]["load_after"]) for run in runs]
    lines += [
        "",
        f"Accuracy in % over {count} held-out questions, one response each at temperature 1, with 95 % "
        "intervals; differences in points, paired by question. Reinforcement learning beats the cold start "
        f"by a margin outside the interval in {clear} of {len(runs)} seeds with PTA-GRPO and in {clear_flat} "
        f"of {len(runs)} with GRPO. PTA-GRPO against GRPO: ahead in {wins}, behind in {losses}, within the "
        f"interval in {len(runs) - wins - losses}; mean difference {100 * mean:+.1f} points. Measured on "
        f"{runs[0]['machine']['cores']} cores ({runs[0]['machine']['simd']}); load average of the machine, "
        f"our own two threads included, {min(loads):.1f} to {max(loads):.1f}; CPU is the sum over threads.",
    ]
    return "\n".join(lines)


def write_docs(runs: list[dict[str, Any]]) -> None:
    """Put the table between the markers of docs/quickstart.md."""
    text = DOCS.read_text(encoding="utf-8")
    head, rest = text.split(BEGIN, 1)
    tail = rest.split(END, 1)[1]
    DOCS.write_text(f"{head}{BEGIN}\n{table(runs)}\n{END}{tail}", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument(
        "--report", action="store_true", help="run nothing, write the table from the stored results"
    )
    parser.add_argument("--fresh", action="store_true", help="forget stored results")
    args = parser.parse_args()
    runs = (
        {}
        if args.fresh or not RESULTS.exists()
        else {r["seed"]: r for r in json.loads(RESULTS.read_text())["runs"]}
    )
    for seed in [] if args.report else args.seeds:
        if seed not in runs:
            runs[seed] = run_seed(seed)
            RESULTS.parent.mkdir(parents=True, exist_ok=True)
            RESULTS.write_text(json.dumps({"runs": [runs[s] for s in sorted(runs)]}, indent=1) + "\n")
    chosen = [runs[seed] for seed in sorted(runs)]
    write_docs(chosen)
    print(table(chosen))


if __name__ == "__main__":
    main()
