"""Learning-rate schedules: pure functions of the step, so that nothing of them needs saving."""

from __future__ import annotations

import math
from typing import Protocol


class ScheduleOptions(Protocol):
    """The options of a configuration that a schedule reads."""

    learning_rate: float
    lr_scheduler_type: str
    lr_scheduler_kwargs: dict
    warmup_ratio: float
    warmup_steps: float


def warmup_length(args: ScheduleOptions, total_steps: int) -> int:
    """Steps of warm-up: `warmup_steps`, else `warmup_ratio` of all steps, rounded up.

    `warmup_steps` below 1 is a ratio too, as in transformers 5.
    """
    if args.lr_scheduler_type == "constant":
        return 0
    if args.warmup_steps >= 1:
        return int(args.warmup_steps)
    return math.ceil((args.warmup_steps or args.warmup_ratio) * total_steps)


def learning_rate(args: ScheduleOptions, step: int, total_steps: int) -> float:
    """The learning rate of optimizer step `step` (0-based) of `total_steps`, as the Hugging Face schedules
    have it.

    "constant" has no warm-up; the others rise linearly from 0 over the warm-up. "linear" then falls to its
    floor, "cosine" along half a cosine wave (`num_cycles`, default 0.5); the floor is 0 or `min_lr_rate` x
    peak or `min_lr`.

    >>> from ptagrpo.training.config import SFTConfig
    >>> args = SFTConfig(learning_rate=1.0, lr_scheduler_type="linear", warmup_steps=2)
    >>> [learning_rate(args, step, 6) for step in range(6)]
    [0.0, 0.5, 1.0, 0.75, 0.5, 0.25]
    """
    peak, kind, options = args.learning_rate, args.lr_scheduler_type, args.lr_scheduler_kwargs
    warmup = warmup_length(args, total_steps)
    if step < warmup:
        return peak * step / warmup
    if kind.startswith("constant"):
        return peak
    floor = options["min_lr"] / peak if "min_lr" in options and peak else options.get("min_lr_rate", 0.0)
    progress = min(1.0, (step - warmup) / max(1, total_steps - warmup))
    if kind == "linear":
        share = 1.0 - progress
    else:
        share = max(0.0, 0.5 * (1.0 + math.cos(math.pi * 2.0 * options.get("num_cycles", 0.5) * progress)))
    return peak * (floor + (1.0 - floor) * share)


def depends_on_total(args: ScheduleOptions) -> bool:
    """Whether the learning rate of a step depends on how many steps there will be.

    A run whose schedule does not can be extended: resume with a larger `max_steps` or `num_train_epochs`.
    """
    kind = args.lr_scheduler_type
    return kind not in ("constant", "constant_with_warmup") or (
        kind == "constant_with_warmup"
        and args.warmup_steps < 1
        and (args.warmup_steps or args.warmup_ratio) > 0.0
    )
