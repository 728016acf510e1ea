"""Which temperature tau of the plan softmax (Eq. 2)? PTA-GRPO on the built-in task, from the same cold starts.

    python bench/plan_temperature.py            # a few minutes on two idle cores

Writes bench/results/plan_temperature.json after every run (a run that is there is not done again) and the table in
docs/settings.md between its markers.
"""

from __future__ import annotations

import json
import math
import tempfile
from pathlib import Path

import numpy as np

from ptagrpo.data import chains
from ptagrpo.policy import Policy
from ptagrpo.quickstart import stages
from ptagrpo.quickstart.settings import QuickstartSettings
from ptagrpo.training import PTAGRPOTrainer

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "bench" / "results" / "plan_temperature.json"
DOCS = ROOT / "docs" / "settings.md"
BEGIN, END = "<!-- tau: begin (written by bench/plan_temperature.py) -->", "<!-- tau: end -->"
SEEDS = (0, 1)
TEMPERATURES = (0.1, 0.3, 1.0)
HELD_OUT = 1000


def cold_start(seed: int, folder: Path) -> Policy:
    """The quickstart's base and cold start of one seed."""
    settings = QuickstartSettings()
    policy = stages.new_policy(seed)
    stages.train_base(policy, settings, folder / "base", seed, progress=False)
    stages.train_cold_start(policy, settings, folder / "cold_start", seed, progress=False)
    return policy


def accuracy(policy: Policy, seed: int) -> float:
    """Held-out accuracy at temperature 1, one response a question."""
    questions = chains.questions(HELD_OUT, split="test", seed=4_000_000 + seed)
    samples = stages.answer_held_out(policy, questions, "held out", seed).samples
    return float(np.mean([sample.correct for sample in samples]))


def run(policy: Policy, seed: int, temperature: float, folder: Path) -> float:
    """Accuracy after PTA-GRPO with one tau."""
    settings = QuickstartSettings()
    policy = policy.clone()
    count = settings.rollouts * settings.questions_per_rollout
    args = settings.pta_grpo(folder, seed, progress=False)
    args = args.replace(plan_temperature=temperature, log_completions=False)
    questions = chains.questions(count, split="train", seed=3_000_000 + seed)
    PTAGRPOTrainer(model=policy, reward_funcs=[stages.plan_right], args=args, train_dataset=questions).train()
    return accuracy(policy, seed)


def table(found: dict[str, float]) -> str:
    """Markdown: a row a seed, a column a tau, means last."""
    columns = ["cold start", *(f"τ = {t}" for t in TEMPERATURES)]
    lines = ["| seed | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    rows = [[found[f"{seed} {name}"] for name in ("cold", *TEMPERATURES)] for seed in SEEDS]
    for seed, row in zip(SEEDS, rows, strict=True):
        lines.append(f"| {seed} | " + " | ".join(f"{100 * value:.1f}" for value in row) + " |")
    lines.append("| mean | " + " | ".join(f"{100 * value:.1f}" for value in np.mean(rows, axis=0)) + " |")
    half = 196 * math.sqrt(0.87 * 0.13 / HELD_OUT)
    return "\n".join([*lines, "", f"Held-out accuracy in % over {HELD_OUT} questions of each seed; a single value's "
                      f"95 % interval is ± {half:.1f} points near 87 %."])  # fmt: skip


def main() -> None:
    found = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for seed in SEEDS:
        wanted = {f"{seed} cold": None, **{f"{seed} {t}": t for t in TEMPERATURES}}
        if wanted.keys() <= found.keys():
            continue
        with tempfile.TemporaryDirectory(prefix="plan-temperature-") as name:
            policy = cold_start(seed, Path(name))
            for key, temperature in wanted.items():
                if key in found:
                    continue
                found[key] = (accuracy(policy, seed) if temperature is None
                              else run(policy, seed, temperature, Path(name, str(temperature))))  # fmt: skip
                RESULTS.parent.mkdir(parents=True, exist_ok=True)
                RESULTS.write_text(json.dumps(found, indent=1) + "\n")
                print(key, found[key], flush=True)
    text = DOCS.read_text(encoding="utf-8")
    head, tail = text.split(BEGIN)[0], text.split(END)[1]
    DOCS.write_text(f"{head}{BEGIN}\n{table(found)}\n{END}{tail}", encoding="utf-8")
    print(table(found))


if __name__ == "__main__":
    main()
