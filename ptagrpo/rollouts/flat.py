"""Flat groups: n independent responses to each question (GRPO, DAPO, Dr. GRPO)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .. import rng
from ..errors import ConfigError
from ..records import Group, Question
from .decode import MEMORY_BUDGET, Decoder, add_response, occurrences, prompt_segment, split_by_memory
from .params import SamplingParams
from .prompts import encode_prompt

if TYPE_CHECKING:
    from ..policy import Policy


def sample_flat(
    policy: Policy,
    questions: Sequence[Question],
    num_generations: int,
    params: SamplingParams,
    *,
    seed: int,
    step: int,
    memory_budget: int = MEMORY_BUDGET,
) -> list[Group]:
    """Sample `num_generations` responses to each question; the prompt is computed and stored once.

    The draws of response i depend on (seed, step, question id, i) and nothing else, so a response is the same
    whatever shares its batch. Training uses `Segment.logprobs`, taken under the temperature alone; see
    `ptagrpo.rollouts` for why.

    Args:
        memory_budget: bytes of keys and values. Where it is short, fewer responses decode side by side, and
            questions are sampled one part after the other, with the same result.

    Returns:
        One group per question, in order, with `num_plans = num_generations` and `cots_per_plan = 1`.

    Raises:
        ConfigError: `num_generations` < 1. DataError: an empty prompt.
    """
    if num_generations < 1:
        raise ConfigError(f"num_generations: got {num_generations}, need at least 1")
    prompts = [encode_prompt(policy, question) for question in questions]
    names = occurrences(questions)
    groups: list[Group] = []
    for part in split_by_memory(policy, prompts, 0, 0, memory_budget):
        decoder = Decoder(policy, params, memory_budget)
        handles = decoder.prefill([prompts[q] for q in part])
        rows = [(q, i) for q in part for i in range(num_generations)]
        draws = decoder.draw(
            parents=[handles[q - part.start] for q, _ in rows],
            keys=[rng.key(seed, step, *names[q], "chain", i, 0) for q, i in rows],
            limits=[params.max_completion_length] * len(rows),
            keep=False,
        )
        for q in part:
            group = Group(questions[q], [prompt_segment(prompts[q])], [], num_generations, 1)
            first = (q - part.start) * num_generations
            for i, draw in enumerate(draws[first : first + num_generations]):
                group.segments.append(draw.segment(parent=0))
                add_response(policy, group, (i + 1,), plan_index=i, cot_index=0)
            groups.append(group)
    return groups
