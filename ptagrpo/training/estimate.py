"""What training would take, from a model's configuration alone: memory by use, and what fits.

Sizes come from the core (`_core.plan_bytes`), where the functions that allocate say how much they would; here they are
only put together as a run does: what sampling takes comes on top of the activations of training, whose memory a model
keeps from step to step.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np

from .. import _core
from ..errors import ConfigError
from ..generation import decode_rows
from ..lora import LoraConfig
from ..models import ModelConfig
from ..policy import Policy
from ..rollouts.decode import MEMORY_BUDGET
from .config import GRPOConfig, PTAGRPOConfig
from .rollout_step import sampling_params

METHODS: dict[str, str | None] = {  # by name, the quantization of the weights; None: they are trained
    "full": None, "lora": "bfloat16", "lora-int8": "int8", "lora-int4": "int4",
}  # fmt: skip
MOST_PLANS = 1024
Keep: TypeAlias = Literal["all", "inputs"]


@dataclass(frozen=True)
class Tree:
    """A question's plan tree at its longest: tokens of prompt, plan and response (plan and chain together)."""

    num_plans: int = 4
    cots_per_plan: int = 3
    max_prompt_length: int = 512
    max_completion_length: int = 512
    max_plan_length: int | None = None

    def __post_init__(self) -> None:
        for name in ("num_plans", "cots_per_plan", "max_prompt_length", "max_completion_length"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name}: got {getattr(self, name)}, need at least 1")

    @property
    def plan_length(self) -> int:
        """Tokens of a plan: half of the response where nothing is said, as in training."""
        limit = self.max_completion_length
        return max(1, limit // 2) if self.max_plan_length is None else min(self.max_plan_length, limit)

    @property
    def chain_length(self) -> int:
        return self.max_completion_length - self.plan_length

    def segments(self) -> tuple[list[int], list[int]]:
        """(lengths, parents) of its segments, depth first."""
        sizes = self.max_prompt_length, self.plan_length, self.chain_length
        return plan_tree(*sizes, self.num_plans, self.cots_per_plan)

    def forest(self) -> _core.Forest:
        """The same for the core, with tokens of zero."""
        return zero_forest(*self.segments())


def plan_tree(prompt: int, plan: int, chain: int, plans: int, chains: int) -> tuple[list[int], list[int]]:
    """(lengths, parents) of the segments of a plan tree, depth first.

    >>> plan_tree(5, 2, 3, plans=2, chains=1)
    ([5, 2, 3, 2, 3], [-1, 0, 1, 0, 3])
    """
    lengths, parents = [prompt], [-1]
    for _ in range(plans):
        parents += [0, *[len(lengths)] * chains]
        lengths += [plan, *[chain] * chains]
    return lengths, parents


def rollout_segments(args: GRPOConfig, prompt: int, count: int = 1) -> tuple[list[int], list[int]]:
    """(lengths, parents) of what a trainer samples for `count` questions with prompts of so many tokens, all at their
    limits: plan trees, or flat groups.
    """
    limits = sampling_params(args)
    if isinstance(args, PTAGRPOConfig):
        sizes = (
            limits.plan_limit,
            args.max_completion_length - limits.plan_limit,
            args.num_plans,
            args.cots_per_plan,
        )
    else:
        sizes = args.max_completion_length, 0, args.num_generations, 0
    lengths, parents = plan_tree(prompt, *sizes)
    width = len(lengths)
    starts = range(0, count * width, width)
    return lengths * count, [start + p if p >= 0 else -1 for start in starts for p in parents]


def sampling_bytes(policy: Policy, args: GRPOConfig, prompt: int) -> int:
    """Bytes that sampling a rollout takes beside the model: keys and values, at most what `rollouts` allows itself, and
    the activations of a step.
    """
    groups = args.generation_batch_size // args.num_generations
    forest = zero_forest(*rollout_segments(args, prompt, groups))
    rows = min(
        args.generation_batch_size, decode_rows(policy, args.max_completion_length, MEMORY_BUDGET // 2)
    )
    adapter = policy.model.adapter or {"rank": 0, "targets": [], "dropout": 0.0}
    sizes = _core.plan_bytes(
        policy.model.config,
        zero_forest([1], [-1]),
        "inputs",
        forest,
        rows,
        adapter["rank"],
        adapter["targets"],
        adapter["dropout"],
    )
    return min(sizes["cache"], MEMORY_BUDGET) + sizes["decode"]


def zero_forest(lengths: list[int], parents: list[int]) -> _core.Forest:
    """A forest of such segments, for its shape alone."""
    ends = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    return _core.Forest(np.zeros(int(ends[-1]), np.int32), ends, np.array(parents, np.int32))


@dataclass(frozen=True)
class Setup:
    """What is estimated: a model, how it is trained, and in what numbers.

    lora: the adapter of the methods that have one. beta: of the KL; above 0 full training has a reference policy.
    """

    config: ModelConfig
    method: str
    dtype: str = "bfloat16"
    lora: LoraConfig = LoraConfig(r=16, target_modules="all-linear")
    beta: float = 0.0

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ConfigError(f"method: expected one of {', '.join(METHODS)}, or all, got {self.method!r}")

    @property
    def core_config(self) -> dict[str, Any]:
        return self.config.core_config(self.dtype, METHODS[self.method])

    @property
    def adapter(self) -> dict[str, Any]:
        """Arguments rank, targets and dropout of `_core.plan_bytes`."""
        if self.method == "full":
            return {}
        return {
            "rank": self.lora.r,
            "targets": list(self.lora.target_modules or ()),
            "dropout": self.lora.lora_dropout,
        }


@dataclass(frozen=True)
class Estimate:
    """Memory of training. parts: bytes by use. keep: how much of the activations is kept (`MemoryPlan.keep`)."""

    parts: dict[str, int]
    keep: Keep

    @property
    def total(self) -> int:
        return sum(self.parts.values())


def estimate(setup: Setup, tree: Tree, memory: int | None = None) -> Estimate:
    """Memory at its largest while `setup` trains on one question a micro-batch.

    Args:
        memory: bytes that there are: activations are kept in full where that fits, as `MemoryPlan` decides, else the
            layers' inputs alone; None: in full.
    """
    full = _estimate(setup, tree, "all")
    return full if memory is None or full.total <= memory else _estimate(setup, tree, "inputs")


def _estimate(setup: Setup, tree: Tree, keep: Keep) -> Estimate:
    forest = tree.forest()
    rows = min(
        tree.num_plans * tree.cots_per_plan,
        decode_rows(setup, tree.max_completion_length, MEMORY_BUDGET // 2),
    )
    grids = _images(setup.config, tree.max_prompt_length)
    sizes = _core.plan_bytes(setup.core_config, forest, keep, forest, rows, **setup.adapter, grids=grids)
    reference = 0
    if setup.beta > 0.0 and setup.method == "full":  # with an adapter it is the model without it
        reference = sizes["weights"] + sizes["packed"] + sizes["forward"]
    parts = {
        "weights": sizes["weights"],
        "working copies": sizes["packed"],
        "adapter": sizes["adapter"],
        "gradients": sizes["gradients"],
        "optimizer": sizes["moments"],
        "reference policy": reference,
        "activations": sizes["activations"],
        "KV cache": sizes["cache"],
        "sampling": sizes["decode"],
        **({"images": sizes["tower"]} if grids is not None else {}),
        "threads": sizes["fixed"],
    }
    return Estimate(parts, keep)


def _images(config: ModelConfig, tokens: int) -> np.ndarray | None:
    """The grid of patches of one image that fills a prompt of `tokens` tokens, nearly square; None: no vision tower."""
    if config.vision is None:
        return None
    rows, side = math.isqrt(tokens), config.vision.spatial_merge_size
    return np.array([[side * rows, side * (tokens // rows)]], np.int32)


def largest_group(setup: Setup, tree: Tree, memory: int) -> int:
    """The most plans, each with tree.cots_per_plan chains, that fit into `memory` bytes; 0: not even one."""

    def fits(plans: int) -> bool:
        return estimate(setup, _changed(tree, num_plans=plans), memory).total <= memory

    return _largest(fits, MOST_PLANS)


def longest_response(setup: Setup, tree: Tree, memory: int) -> int:
    """The largest max_completion_length that fits into `memory` bytes and into the model's positions; 0: none. A plan
    length that was given stays; else plans take half."""

    def fits(length: int) -> bool:
        return estimate(setup, _changed(tree, max_completion_length=length), memory).total <= memory

    return _largest(fits, setup.config.max_position_embeddings - tree.max_prompt_length)


def _changed(tree: Tree, **changes: int) -> Tree:
    return Tree(**{**vars(tree), **changes})


def _largest(fits: Callable[[int], bool], most: int) -> int:
    """The largest number up to `most` that fits, where every smaller one does; 0: none."""
    if most < 1 or not fits(1):
        return 0
    low, high = 1, 2
    while high <= most and fits(high):
        low, high = high, 2 * high
    high = min(high, most + 1)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low
