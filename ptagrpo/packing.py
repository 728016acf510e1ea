"""From what was sampled to what is trained: groups become one forest, flat targets and their weights.

The one seam between records and arrays (design, principle 4). Prompt and plan stand in the forest once; a
token that `k` responses share is one target whose weights are the sums over those responses, so that the
merged loss equals the loss of the `k` responses computed one by one, exactly:

    W+ = sum_k w_k max(A_k, 0)      W- = sum_k w_k min(A_k, 0)      w_kl = sum_k w_k
    loss = -sum[ W+ min(r, 1 + eps_high) + W- max(r, 1 - eps_low) ] + beta sum w_kl k3

where `w_k` is the weight of one token of response `k` under the chosen `loss_type` (see `loss_weights`), and
`A_k` its advantage (for a plan's tokens its `plan_advantage`, where it has one). This
file computes no log-probability and no gradient.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from . import _core
from .errors import ConfigError, DataError, did_you_mean
from .models.vision import VisionConfig
from .records import Group, Picture, Response
from .vision import picture_rows, place, rope_positions

LOSS_TYPES = ("grpo", "dapo", "dr_grpo", "sum")


@dataclass
class Batch:
    """One forward and backward pass: a forest and its N targets.

    forest: `_core.Forest`, every segment once, depth first.
    source: int32[N], the row whose hidden state predicts the target.
    target: int32[N], the token that is predicted.
    old: float32[N], log-probability under the sampling policy at the training temperature (zeros for SFT).
    ref: float32[N] or None, the same under the reference policy; filled in by the trainer when the KL is on.
    w_pos, w_neg, w_kl: float32[N], the weights above (`w_neg` <= 0). For SFT `w_pos` is the loss weight of
        the target, the other two are zero.
    num_responses: responses that the batch carries (records, for SFT).
    num_tokens: tokens in the forest, shared ones counted once.
    pictures: in the order of their rows. seen: float32[rows, hidden_size], what the forest takes for them: to be filled
        with what the vision tower makes of `pictures` before each pass; None without pictures.
    """

    forest: _core.Forest
    source: np.ndarray
    target: np.ndarray
    old: np.ndarray
    ref: np.ndarray | None
    w_pos: np.ndarray
    w_neg: np.ndarray
    w_kl: np.ndarray
    num_responses: int
    num_tokens: int
    pictures: tuple[Picture, ...] = ()
    seen: np.ndarray | None = None


@dataclass(frozen=True)
class SFTRecord:
    """One sequence to learn from. token_ids: int32[T]; loss_mask: bool[T], True where the token is a target; pictures
    of the prompt.

    The first token is never a target: nothing stands before it to predict it from.
    """

    token_ids: np.ndarray
    loss_mask: np.ndarray
    pictures: tuple[Picture, ...] = ()

    @classmethod
    def from_prompt(
        cls, prompt_ids: Sequence[int], completion_ids: Sequence[int], pictures: tuple[Picture, ...] = ()
    ) -> SFTRecord:
        """A record whose targets are the completion's tokens."""
        tokens = np.concatenate([np.asarray(prompt_ids, np.int32), np.asarray(completion_ids, np.int32)])
        return cls(tokens, np.arange(len(tokens)) >= len(prompt_ids), pictures)

    @property
    def num_targets(self) -> int:
        """Number of tokens of this record that count in the loss."""
        return int(np.count_nonzero(self.loss_mask[1:]))


def group_tokens(group: Group) -> int:
    """Tokens of the group's forest: prompt and every sampled segment once."""
    return sum(len(segment.token_ids) for segment in group.segments)


def loss_weights(
    groups: Sequence[Group],
    loss_type: str,
    max_completion_length: int | None = None,
    *,
    mask_truncated: bool = False,
) -> list[list[float]]:
    """Weight `w_k` of one token of each response, normalised over all `groups` together.

    Pass the groups of the *whole optimizer batch*: the normalisers are then the same however the batch is cut
    into micro-batches. With R responses, |o_k| tokens in response k (its plan's included):

        "grpo"     1 / (R |o_k|)                  mean over tokens of a response, then over responses
        "dapo"     1 / sum_k |o_k|                mean over all tokens, shared ones once per response
        "dr_grpo"  1 / (R max_completion_length)  constant: length does not bias (Liu et al. 2025)
        "sum"      1 / R                          Eq. 9 of the paper as printed

    Args:
        mask_truncated: give responses cut at the length limit weight 0. The denominators stay those of all
            responses, so that the weight of the others does not depend on how many were cut.

    Returns:
        One list per group, one weight per response.

    Raises:
        ConfigError: unknown `loss_type`; "dr_grpo" without a positive `max_completion_length`.
    """
    if loss_type not in LOSS_TYPES:
        options = ", ".join(LOSS_TYPES)
        raise ConfigError(
            f"loss_type: got {loss_type!r}, expected one of {options}.{did_you_mean(loss_type, LOSS_TYPES)}"
        )
    if loss_type == "dr_grpo" and not (max_completion_length and max_completion_length > 0):
        raise ConfigError(
            f"loss_type 'dr_grpo' divides by max_completion_length: got {max_completion_length!r}, "
            "need a positive integer"
        )
    num_responses = sum(len(group.responses) for group in groups)
    num_tokens = sum(response.length for group in groups for response in group.responses)

    def weight(response: Response) -> float:
        if response.length == 0 or (mask_truncated and response.finish == "length"):
            return 0.0
        if loss_type == "grpo":
            return 1.0 / (num_responses * response.length)
        if loss_type == "dapo":
            return 1.0 / num_tokens
        if loss_type == "dr_grpo":
            return 1.0 / (num_responses * max_completion_length)
        return 1.0 / num_responses

    return [[weight(response) for response in group.responses] for group in groups]


def split_groups(groups: Sequence[Group], max_tokens: int) -> list[list[int]]:
    """Cut `groups`, in order, into micro-batches of at most `max_tokens` forest tokens.

    A group is never split; one that is too large alone is a micro-batch of its own.

    Returns:
        Lists of indices into `groups`: `pack_groups([groups[i] for i in part], [weights[i] for i in part])`.
    """
    return _split([group_tokens(group) for group in groups], max_tokens)


def split_records(records: Sequence[SFTRecord], max_tokens: int) -> list[list[int]]:
    """`split_groups` for SFT records: lists of indices, at most `max_tokens` tokens each."""
    return _split([len(record.token_ids) for record in records], max_tokens)


def _split(sizes: Sequence[int], max_tokens: int) -> list[list[int]]:
    if max_tokens <= 0:
        raise ConfigError(f"max_tokens: got {max_tokens}, need a positive number of tokens per micro-batch")
    parts: list[list[int]] = []
    filled = 0
    for index, size in enumerate(sizes):
        if not parts or filled + size > max_tokens:
            parts.append([])
            filled = 0
        parts[-1].append(index)
        filled += size
    return parts


def pack_groups(
    groups: Sequence[Group], weights: Sequence[Sequence[float]], vision: VisionConfig | None = None
) -> Batch:
    """Pack sampled groups with their advantages into one forest with exactly merged targets.

    Args:
        groups: with `Response.advantage` filled in (`algorithms.assign_advantages`).
        weights: `w_k` of each response of each group, from `loss_weights` over the whole optimizer batch.
        vision: the tower's configuration, where prompts have pictures.

    Raises:
        DataError: an empty prompt (nothing predicts the first token), or weights that do not match the
        responses.
    """
    if len(groups) != len(weights):
        raise DataError(f"pack_groups: {len(groups)} groups but {len(weights)} lists of weights")
    builder = _ForestBuilder(vision)
    for group, group_weights in zip(groups, weights, strict=True):
        _add_group(builder, group, group_weights)
    return builder.batch(sum(len(group.responses) for group in groups))


def _add_group(builder: _ForestBuilder, group: Group, weights: Sequence[float]) -> None:
    name = group.question.id
    if len(weights) != len(group.responses):
        raise DataError(f"question {name!r}: {len(group.responses)} responses but {len(weights)} weights")
    if len(group.segments[0].token_ids) == 0:
        raise DataError(
            f"question {name!r}: the prompt has no tokens, so nothing predicts its first response token"
        )
    # A response gives all tokens of a segment one weight and one advantage: segments are merged, not tokens.
    merged = np.zeros((len(group.segments), 3))
    for response, weight in zip(group.responses, weights, strict=True):
        for level, segment in enumerate(response.path):
            own = response.plan_advantage if level == 0 else None
            advantage = response.advantage if own is None else own
            merged[segment] += weight * max(advantage, 0.0), weight * min(advantage, 0.0), weight
    base = builder.num_segments
    for segment, (w_pos, w_neg, w_kl) in zip(group.segments, merged, strict=True):
        if segment.parent < 0:
            builder.add_segment(segment.token_ids, -1, segment.pictures)
            continue
        rows = builder.add_segment(segment.token_ids, base + segment.parent)
        builder.add_targets(rows, segment.token_ids, segment.logprobs, w_pos, w_neg, w_kl)


def pack_records(
    records: Sequence[SFTRecord], total_targets: int | None = None, vision: VisionConfig | None = None
) -> Batch:
    """Pack SFT records: one root segment each, targets where the loss mask is set, token mean.

    Args:
        total_targets: targets of the whole optimizer batch (`sum(r.num_targets)`), so that gradient
            accumulation adds up to the mean over its tokens; default: those of `records`.

    Returns:
        A batch whose `w_pos` are the loss weights: loss = -sum(w_pos * logprobs), dlogprobs = -w_pos.

    Raises:
        DataError: mask and tokens differ in length, or no record has a target.
    """
    if total_targets is None:
        total_targets = sum(record.num_targets for record in records)
    if total_targets <= 0:
        raise DataError(
            "pack_records: no token counts in the loss; are all completions empty or cut off by max_length?"
        )
    builder = _ForestBuilder(vision)
    for number, record in enumerate(records):
        if len(record.token_ids) != len(record.loss_mask):
            raise DataError(
                f"record {number}: {len(record.token_ids)} tokens but a loss mask of {len(record.loss_mask)}"
            )
        start = builder.num_tokens
        builder.add_segment(record.token_ids, -1, record.pictures)
        counted = np.flatnonzero(record.loss_mask[1:])
        tokens = np.asarray(record.token_ids)[counted + 1]
        builder.add_targets(start + counted, tokens, np.zeros(len(counted)), 1.0 / total_targets, 0.0, 0.0)
    return builder.batch(len(records))


class _ForestBuilder:
    """Collects segments and targets; knows rows, not groups."""

    def __init__(self, vision: VisionConfig | None = None) -> None:
        self._vision = vision
        self._pictures: list[Picture] = []
        self._picture_rows: list[np.ndarray] = []
        self._positions: list[np.ndarray] = []  # int32[3, n] of each segment
        self._next: list[int] = []  # the position behind each segment
        self.num_tokens = 0
        self.num_segments = 0
        self._tokens: list[np.ndarray] = []
        self._parents: list[int] = []
        self._ends: list[int] = [0]
        self._last_rows: list[int] = []  # last row of the segment or, if it is empty, of its nearest ancestor
        self._sources: list[np.ndarray] = []
        self._targets: list[np.ndarray] = []
        self._floats: list[np.ndarray] = []

    def add_segment(
        self, token_ids: np.ndarray, parent: int, pictures: tuple[Picture, ...] = ()
    ) -> np.ndarray:
        """Append a segment; return for each of its tokens the row that predicts it (-1: none)."""
        start, size = self.num_tokens, len(token_ids)
        placed = place(token_ids, self._vision.image_token_id, pictures) if self._vision and pictures else ()
        positions, behind = rope_positions(size, placed, self._next[parent] if parent >= 0 else 0)
        self._positions.append(positions)
        self._next.append(behind)
        self._pictures += pictures
        self._picture_rows.append(picture_rows(placed) + start)
        before = self._last_rows[parent] if parent >= 0 else -1
        self.num_tokens += size
        self.num_segments += 1
        self._tokens.append(np.asarray(token_ids, np.int32))
        self._parents.append(parent)
        self._ends.append(self.num_tokens)
        self._last_rows.append(self.num_tokens - 1 if size else before)
        rows = np.arange(start - 1, start - 1 + size)
        rows[:1] = before
        return rows

    def add_targets(
        self, source: np.ndarray, target: np.ndarray, old: np.ndarray, w_pos: float, w_neg: float, w_kl: float
    ) -> None:
        """Append targets that share their three weights."""
        self._sources.append(np.asarray(source))
        self._targets.append(np.asarray(target))
        floats = np.empty((4, len(target)))
        floats[0] = old
        floats[1:] = np.array([[w_pos], [w_neg], [w_kl]])
        self._floats.append(floats)

    def batch(self, num_responses: int) -> Batch:
        """Freeze what was added."""
        floats = np.concatenate(self._floats, axis=1) if self._floats else np.zeros((4, 0))
        old, w_pos, w_neg, w_kl = (np.ascontiguousarray(row, np.float32) for row in floats)
        empty = [np.zeros(0, np.int32)]
        rows = np.concatenate([*empty, *self._picture_rows]).astype(np.int32)
        width = self._vision.out_hidden_size if self._vision is not None else 0
        seen = np.zeros((len(rows), width), np.float32) if self._pictures else None
        forest = _core.Forest(
            np.concatenate(self._tokens or empty).astype(np.int32),
            np.asarray(self._ends, np.int32),
            np.asarray(self._parents, np.int32),
            *((np.concatenate(self._positions, axis=1), rows, seen) if self._pictures else ()),
        )
        return Batch(
            forest=forest,
            source=np.concatenate(self._sources or empty).astype(np.int32),
            target=np.concatenate(self._targets or empty).astype(np.int32),
            old=old,
            ref=None,
            w_pos=w_pos,
            w_neg=w_neg,
            w_kl=w_kl,
            num_responses=num_responses,
            num_tokens=self.num_tokens,
            pictures=tuple(self._pictures),
            seen=seen,
        )
