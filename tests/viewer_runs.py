"""Made-up runs for the tests of the viewer: of any size, with known numbers of right, wrong, tied, unclosed trees."""

from __future__ import annotations

import json
import random
from pathlib import Path

from ptagrpo.training.step_files import StepFiles

NAMES = ["Ada", "Ben", "Cat", "Dan", "Eve", "Fay", "Gus", "Hal"]


def write_run(
    folder: Path, steps: int, questions: int, *, plans=4, chains=3, tokens=False, seed=0
) -> dict[str, int]:
    """Write metrics.jsonl, timings.jsonl and trees/ of `steps` rollouts of `questions` trees.

    Returns:
        How many trees each filter of the page should find, "needle": those with the word needle in one chain.
    """
    rng = random.Random(seed)
    pool = [_reasoning(rng) for _ in range(400)]
    counts = dict.fromkeys(("all", "right", "mixed", "wrong", "tie", "unclosed", "needle"), 0)
    store = StepFiles(folder, "trees", 1000.0, compress=True)
    number = 0
    for step in range(1, steps + 1):
        rows = []
        for _ in range(questions):
            kind = ("right", "wrong", "mixed", "mixed", "unclosed")[number % 5]
            rows.append(_tree(rng, pool, step, number, kind, plans, chains, tokens))
            counts["all"] += 1
            counts["right"] += kind == "right"
            counts["wrong"] += kind == "wrong"
            counts["mixed"] += kind in ("mixed", "unclosed")
            counts["tie"] += kind in ("right", "wrong")
            counts["unclosed"] += kind == "unclosed"
            if number % 1000 == 7:
                rows[-1]["plans"][-1]["chains"][-1]["text"] += ' the "needle" is here'
                counts["needle"] += 1
            number += 1
        store.write(step, rows)
    with open(folder / "metrics.jsonl", "w") as log, open(folder / "timings.jsonl", "w") as times:
        for step in range(1, steps + 1):
            reward = step / steps
            log.write(json.dumps({"step": step, "epoch": step / 10, "loss": -0.1 / step, "reward": reward,
                                  "rewards/outcome/mean": 0.8 * reward, "rewards/plan/mean": 0.25,
                                  "plan/success_mean": 0.8 * reward}) + "\n")  # fmt: skip
            times.write(json.dumps({"step": step, "step_time": 0.5, "time_sampling": 0.25}) + "\n")
    return counts


def _reasoning(rng: random.Random) -> str:
    steps = " ".join(f"{rng.choice(NAMES)} is {rng.randrange(7)} plus {rng.choice(NAMES)}." for _ in range(6))
    return f" <think> {steps} </think> <answer> {rng.randrange(7)} </answer>"


def _tree(rng, pool, step, number, kind, plans, chains, tokens) -> dict:
    rows = []
    for plan in range(plans):
        # mixed: the chains under even plans are right
        right = kind == "right" or (kind in ("mixed", "unclosed") and plan % 2 == 0)
        text = " ".join(rng.sample(NAMES, 4))
        row = {"plan": text, "score": float(right), "reward": 0.25, "chains": []}
        for _ in range(chains):
            chain = {"text": rng.choice(pool), "answer": str(rng.randrange(7)), "correct": right,
                     "reward": 1.2 if right else 0.2, "advantage": 0.9 if right else -0.9, "length": 60,
                     "finish": "eos", "rewards": {"outcome": float(right), "structure": 0.2}}  # fmt: skip
            if kind == "unclosed" and plan == plans - 1:
                chain["unclosed"] = True
            if tokens:
                chain["tokens"] = _tokens(rng, chain["text"])
            row["chains"].append(chain)
        if tokens:
            row["tokens"] = _tokens(rng, text)
        rows.append(row)
    return {"step": step, "id": f"q{number % 500}", "prompt": f"Question {number % 500}: {NAMES[number % 8]} is 4. "
            f"Who is {NAMES[(number + 3) % 8]}?", "answer": "4", "plans": rows}  # fmt: skip


def _tokens(rng: random.Random, text: str) -> dict:
    pieces = [" " + word for word in text.split()]
    draw = lambda low, high: [round(rng.uniform(low, high), 3) for _ in pieces]  # noqa: E731
    return {"pieces": pieces, "logprob": draw(-3, 0), "entropy": draw(0, 2), "ratio": draw(0.7, 1.4)}
