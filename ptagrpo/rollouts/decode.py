"""One decode loop over many questions: what flat and tree rollouts share.

Splits the questions by a memory budget, holds the KV cache of one part, draws continuations (as many side by
side as the budget allows, the next one where one ends) and builds records. It does not know what a plan is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .. import _core
from ..generation import PAGE_TOKENS, decode_rows, kv_bytes, prefill
from ..parsing import parse_response
from ..records import Encoded, Group, Question, Response, Segment
from .params import SamplingParams
from .prompts import decode_response

if TYPE_CHECKING:
    from ..policy import Policy

MEMORY_BUDGET = 2 << 30
FINISH = ("length", "eos", "stop")


@dataclass(frozen=True)
class Draw:
    """One continuation: the handle of its KV segment (-1: not kept), and what was sampled (its parent is set
    later).
    """

    handle: int
    token_ids: np.ndarray
    logprobs: np.ndarray
    sampling_logprobs: np.ndarray
    entropies: np.ndarray
    finish: str

    def segment(self, parent: int) -> Segment:
        """The record of this draw under segment `parent` of its group."""
        return Segment(
            parent, self.token_ids, self.logprobs, self.sampling_logprobs, self.entropies, self.finish
        )


class Decoder:
    """The KV cache of one part of a rollout and the settings that all its draws share.

    Args:
        memory_budget: bytes; half of them are for the continuations that are under way.
    """

    def __init__(self, policy: Policy, params: SamplingParams, memory_budget: int):
        self._cache, self._policy = _core.Cache(policy.model), policy
        self._params = params
        self._rows = decode_rows(policy, params.max_completion_length, memory_budget // 2)
        self._eos = np.asarray(sorted(policy.tokenizer.eos_token_ids), np.int32)

    def prefill(self, prompts: Sequence[Encoded]) -> np.ndarray:
        """Store the prompts; return their handles."""
        return prefill(self._policy, self._cache, prompts)

    def draw(
        self,
        parents: Sequence[int],
        keys: Sequence[int],
        limits: Sequence[int],
        stops: _core.StopTable | None = None,
        keep: bool = True,
    ) -> list[Draw]:
        """Continue each parent by at most `limits[b]` tokens with the draws of `keys[b]`. keep: the results can
        be continued in turn.
        """
        if not len(parents):
            return []
        params = self._params
        result = self._cache.sample(
            np.asarray(parents, np.int64),
            np.asarray(keys, np.uint64),
            np.asarray(limits, np.int32),
            temperature=params.temperature,
            top_k=params.top_k,
            top_p=params.top_p,
            min_p=params.min_p,
            eos=self._eos,
            stops=stops,
            max_rows=self._rows,
            keep=keep,
        )
        cuts = np.cumsum(result["lengths"])[:-1]
        fields = (result["tokens"], result["logprobs"], result["sampling_logprobs"], result["entropies"])
        columns = [np.split(field, cuts) for field in fields]
        return [
            Draw(int(handle), tokens, logprobs, sampling, entropies, FINISH[finish])
            for handle, tokens, logprobs, sampling, entropies, finish in zip(
                result["handles"], *columns, result["finish"].tolist(), strict=True
            )
        ]


def split_by_memory(
    policy: Policy, prompts: Sequence[Encoded], plans: int, plan_tokens: int, budget: int
) -> Iterator[range]:
    """Cut the questions, in order, into parts whose prompts and plans fit into half of `budget` bytes at worst.

    Args:
        plans: continuations that are kept for one question, of `plan_tokens` tokens at most.
        budget: bytes; a question that is too large alone is a part of its own.
    """
    kept = plans * kv_bytes(policy, plan_tokens + PAGE_TOKENS)
    start, used = 0, 0
    for index, prompt in enumerate(prompts):
        need = kept + kv_bytes(policy, len(prompt))
        if index > start and used + need > budget // 2:
            yield range(start, index)
            start, used = index, 0
        used += need
    if len(prompts) > start:
        yield range(start, len(prompts))


def occurrences(questions: Sequence[Question]) -> list[tuple[int | str, ...]]:
    """Key parts that name each question: its id, and a count where an id comes again in the same call.

    Without the count, two rows with one id would get the same draws.
    """
    seen: dict[str, int] = {}
    parts: list[tuple[int | str, ...]] = []
    for question in questions:
        count = seen.get(question.id, 0)
        seen[question.id] = count + 1
        parts.append((question.id, "again", count) if count else (question.id,))
    return parts


def prompt_segment(prompt: Encoded) -> Segment:
    """The root segment of a group."""
    nothing = np.zeros(0, np.float32)
    return Segment(-1, prompt.ids, nothing, nothing, nothing, "prompt", prompt.pictures)


def add_response(
    policy: Policy, group: Group, path: tuple[int, ...], plan_index: int, cot_index: int
) -> None:
    """Append the response that runs through the segments of `path`."""
    segments = [group.segments[index] for index in path]
    token_ids = np.concatenate([segment.token_ids for segment in segments])
    text = decode_response(policy, token_ids)
    parsed = parse_response(text)
    finish = segments[-1].finish
    group.responses.append(
        Response(
            path=path,
            plan_index=plan_index,
            cot_index=cot_index,
            text=text,
            plan=parsed.plan,
            answer=parsed.answer,
            finish="length" if finish == "stop" else finish,
            length=len(token_ids),
        )
    )
