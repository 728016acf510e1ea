"""The records that the rooms hand to each other. Plain data: no method here computes anything of the paper (a
group shows itself in notebooks and terminals through `plan_tree`).

A *group* is everything sampled for one question: its segments (a small tree whose root is the prompt) and its
responses, each a path through those segments. A flat GRPO group has paths of one segment, a plan tree of two
(plan, chain). See `docs/architecture.md`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

Messages = list[dict[str, Any]]


@dataclass
class Question:
    """One question: a prompt (plain text or chat messages), its reference answer, and further data-set columns.

    images: files (paths) or their contents (bytes). The prompt's `<image 1>` stands where the first one belongs;
    those that it does not mention come before the text (see `ptagrpo.images`).
    """

    id: str
    prompt: str | Messages
    answer: str | None = None
    columns: dict[str, Any] = field(default_factory=dict)
    images: list[str | bytes] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class Picture:
    """An image as a vision tower will see it: resized, before its numbers are scaled and cut into patches.

    rgb: uint8[height, width, 3]. grid: (rows, columns) of patches. merged: (rows, columns) of its tokens in the prompt.
    processor: the `vision.ImageProcessor` that made it, and makes its patches (`processor.patches(picture)`).
    """

    rgb: np.ndarray
    grid: tuple[int, int]
    merged: tuple[int, int]
    processor: Any = field(repr=False)

    @property
    def tokens(self) -> int:
        """How many tokens of the prompt stand for it."""
        return self.merged[0] * self.merged[1]


@dataclass(frozen=True, eq=False)
class Encoded:
    """A prompt as the model takes it.

    ids: int32[P]. pictures: its images in the order of their tokens.
    """

    ids: np.ndarray
    pictures: tuple[Picture, ...] = ()

    def __len__(self) -> int:
        return len(self.ids)


@dataclass
class Segment:
    """A run of tokens with a parent segment (index in the group, -1 for the prompt itself).

    logprobs: float32[n], log-probability of each token under the temperature alone: what training calls "old".
    sampling_logprobs: float32[n], under the distribution actually sampled (after top-k, top-p, min-p).
    entropies: float32[n], nats. All three are empty for the prompt.
    finish: "prompt" | "eos" | "stop" | "length".
    pictures: of a prompt, its images in the order of their tokens.
    """

    parent: int
    token_ids: np.ndarray
    logprobs: np.ndarray
    sampling_logprobs: np.ndarray
    entropies: np.ndarray
    finish: str
    pictures: tuple[Picture, ...] = ()


@dataclass
class Response:
    """One response: a path of segment indices (the prompt left out), its text, and what became of it.

    advantage: of its tokens. plan_advantage: of the tokens of its plan (the first segment of the path), where
    they have one of their own; None: that of the others.
    """

    path: tuple[int, ...]
    plan_index: int
    cot_index: int
    text: str
    plan: str | None
    answer: str | None
    finish: str
    length: int
    rewards: dict[str, float | None] = field(default_factory=dict)
    reward: float = 0.0
    advantage: float = 0.0
    correct: bool | None = None
    plan_advantage: float | None = None


@dataclass
class Group:
    """All that was sampled for one question. `segments[0]` is the prompt; segments are in depth-first order.

    Responses are in plan-major order: response `i * cots_per_plan + k` is chain `k` under plan `i`. A flat group has
    `num_plans == len(responses)` and `cots_per_plan == 1`.
    """

    question: Question
    segments: list[Segment]
    responses: list[Response]
    num_plans: int
    cots_per_plan: int
    plan_scores: list[float] = field(default_factory=list)
    plan_rewards: list[float] = field(default_factory=list)

    def _repr_html_(self) -> str:
        from .plan_tree import PlanTree

        return PlanTree.from_group(self)._repr_html_()

    def __rich__(self) -> Any:
        from .plan_tree import PlanTree

        return PlanTree.from_group(self).__rich__()
