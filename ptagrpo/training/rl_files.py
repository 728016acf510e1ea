"""Rollouts as files: in a checkpoint, exactly; as rows of completions/ and trees/, for people and their
tools.
"""

from __future__ import annotations

import codecs
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save as to_safetensors

from ..errors import CheckpointError
from ..io import atomic_write_bytes, atomic_write_json
from ..plan_tree import PlanTree, Tokens
from ..policy import Policy
from ..records import Group, Question, Response, Segment
from .checkpointing import read_tensors
from .rollout_step import Rollout

TENSORS, RECORDS = "rollout.safetensors", "rollout.json"
_ARRAYS = ("token_ids", "logprobs", "sampling_logprobs", "entropies")


def write_rollout(folder: Path, rollout: Rollout, questions: Sequence[Question]) -> None:
    """Write a rollout that is in use, with the old and reference log-probabilities of its micro-batches."""
    rows = {id(question): row for row, question in enumerate(questions)}
    tensors: dict[str, np.ndarray] = {}
    records = []
    for number, group in enumerate(rollout.groups):
        for index, segment in enumerate(group.segments):
            for name in _ARRAYS:
                tensors[f"{number}.{index}.{name}"] = getattr(segment, name)
        records.append(
            {
                "row": rows[id(group.question)],
                "num_plans": group.num_plans,
                "cots_per_plan": group.cots_per_plan,
                "plan_scores": group.plan_scores,
                "plan_rewards": group.plan_rewards,
                "segments": [[segment.parent, segment.finish] for segment in group.segments],
                "responses": [asdict(response) for response in group.responses],
            }
        )
    for i, minibatch in enumerate(rollout.batches):
        for j, batch in enumerate(minibatch):
            tensors[f"old.{i}.{j}"] = batch.old
            if batch.ref is not None:
                tensors[f"ref.{i}.{j}"] = batch.ref
    atomic_write_bytes(folder / TENSORS, to_safetensors(tensors))
    state = {"position": rollout.position, "draws": rollout.draws, "used": rollout.used, "groups": records}
    atomic_write_json(folder / RECORDS, state, indent=None)


def read_rollout(folder: Path, questions: Sequence[Question]) -> tuple[Rollout, dict[str, np.ndarray]] | None:
    """The rollout of a checkpoint without its micro-batches, and the tensors "old.i.j", "ref.i.j" that
    belong in them.

    Returns:
        None if the checkpoint holds none: the next step begins a new one.
    """
    if not (folder / RECORDS).exists():
        return None
    try:
        state = json.loads((folder / RECORDS).read_text(encoding="utf-8"))
        tensors = read_tensors(folder / TENSORS)
        groups = []
        for number, record in enumerate(state["groups"]):
            segments = [
                Segment(parent, *(tensors[f"{number}.{index}.{name}"] for name in _ARRAYS), finish)
                for index, (parent, finish) in enumerate(record["segments"])
            ]
            responses = [
                Response(**{**values, "path": tuple(values["path"])}) for values in record["responses"]
            ]
            groups.append(
                Group(
                    questions[record["row"]],
                    segments,
                    responses,
                    record["num_plans"],
                    record["cots_per_plan"],
                    record["plan_scores"],
                    record["plan_rewards"],
                )  # fmt: skip
            )
        rollout = Rollout(groups, state["position"], state["draws"], state["used"])
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise CheckpointError(f"{folder / RECORDS}: is not a rollout of this run: {error!r}") from error
    return rollout, {name: array for name, array in tensors.items() if name.startswith(("old.", "ref."))}


def completion_rows(
    step: int, groups: Sequence[Group], extra: Mapping[str, list[Any]]
) -> list[dict[str, Any]]:
    """Rows of completions/completions_{step}.jsonl: one per response. `extra`: columns that reward functions
    logged.
    """
    rows: list[dict[str, Any]] = []
    for group in groups:
        for response in group.responses:
            row = {
                "step": step,
                "question_id": group.question.id,
                "prompt": group.question.prompt,
                "completion": response.text,
                "plan_index": response.plan_index,
                "cot_index": response.cot_index,
                "plan": response.plan,
                "plan_reward": group.plan_rewards[response.plan_index] if group.plan_rewards else None,
                "extracted": response.answer,
                "answer": group.question.answer,
                "correct": response.correct,
                "finish": response.finish,
                "length": response.length,
                "rewards": response.rewards,
                "reward": response.reward,
                "advantage": response.advantage,
                "plan_advantage": response.plan_advantage,
            }
            number = len(rows)
            row |= {name: values[number] for name, values in extra.items() if name not in row}
            rows.append(_json_safe(row))
    return rows


def tree_rows(
    step: int,
    groups: Sequence[Group],
    pieces: TokenPieces | None = None,
    ratios: Sequence[np.ndarray | None] = (),
) -> list[dict[str, Any]]:
    """Rows of trees/trees_{step}.jsonl.gz: one per question (see `plan_tree.record`).

    Args:
        pieces: texts of tokens; given, each token's log-probability, entropy and ratio are stored too.
        ratios: for each group, float[all tokens of its segments but the prompt's], or None: not known.
    """
    rows = []
    for number, group in enumerate(groups):
        ratio = ratios[number] if number < len(ratios) else None
        ends = np.cumsum([0, *(len(segment.token_ids) for segment in group.segments[1:])])

        def tokens(index: int, group: Group = group, ratio=ratio, ends=ends) -> Tokens | None:
            if pieces is None:
                return None
            segment = group.segments[index]
            own = None if ratio is None else ratio[ends[index - 1] : ends[index]].tolist()
            return Tokens(
                pieces(segment.token_ids), segment.logprobs.tolist(), segment.entropies.tolist(), own
            )

        rows.append(_json_safe(PlanTree.from_group(group, step, tokens).to_row()))
    return rows


class TokenPieces:
    """Texts of tokens that join to the decoded text; a character cut by tokens belongs to its last one."""

    def __init__(self, policy: Policy):
        self._bytes, self._offsets = policy.tokenizer.token_bytes(policy.config.vocab_size)

    def __call__(self, token_ids: np.ndarray) -> list[str]:
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        return [
            decoder.decode(self._bytes[self._offsets[i] : self._offsets[i + 1]].tobytes()) for i in token_ids
        ]


def _json_safe(value: Any) -> Any:
    """NaN and infinities as null; what JSON does not know as text."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _json_safe(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_json_safe(item) for item in value]
    if isinstance(value, np.generic):
        return _json_safe(value.item())
    return value if value is None or isinstance(value, (str, int, bool)) else repr(value)
