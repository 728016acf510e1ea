"""Figure 10: whole steps of reinforcement learning, sampling included, against TRL's GRPO; all in bfloat16."""

from __future__ import annotations

from functools import partial
from typing import Any

from ..compare import Contestant, UnequalWork, interleave
from ..results import Result

SHAPE = "qwen2.5-0.5b"
RESPONSES = 12


def step(context: Any, row: str, prompt: int, length: int, plan: int, goal: float) -> list[Result]:
    """One question with RESPONSES responses. Ours trains float32 master weights; TRL's weights and moments are
    bfloat16. plan: ours samples plan trees, whose plans have so many of a response's tokens."""
    if context.quick:
        prompt, length, plan = prompt // 8, length // 8, plan // 8
    sizes = {"folder": str(context.folder(SHAPE)), "prompt": prompt, "length": length, "responses": RESPONSES}
    sides = [Contestant("ours", "ours_grpo", {**sizes, "plan": plan}, ("step", {})),
             Contestant("TRL", "trl_grpo", sizes, ("step", {}))]  # fmt: skip
    found = interleave(sides, context.rounds, together=False)
    for name, runs in found.items():
        if any(run["tokens"] != RESPONSES * length for run in runs.timed):
            raise UnequalWork(
                f"{name}: tokens {[run['tokens'] for run in runs.timed]}, not {RESPONSES * length}"
            )
    what = f"{'PTA-GRPO' if plan else 'GRPO'} step, {RESPONSES} × {length} tokens, prompt {prompt}"
    speed = 1 / found["ours"].seconds
    if found["TRL"].absent:
        note = f"peer absent ({found['TRL'].absent})"
        return [Result(row, 10, what, None, goal, "steps/s", speed, note=note)]
    peer = 1 / found["TRL"].seconds
    return [Result(row, 10, what, speed / peer, goal, "steps/s", speed, peer, "TRL")]


ROWS = {
    "grpo": partial(step, row="grpo", prompt=130, length=128, plan=0, goal=6.0),
    "ptagrpo": partial(step, row="ptagrpo", prompt=256, length=384, plan=128, goal=8.0),
}
LONG = ("ptagrpo",)
