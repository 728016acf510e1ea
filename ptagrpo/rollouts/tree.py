"""Plan trees: m plans for each question, z chains of thought under each plan (section 3.3 of the paper).

A plan is sampled until it has written `</plan>`, an end of sequence, or its length limit. Its chains continue
it: one that ran into its limit unclosed is simply carried on by each of them. A plan that ended with an end
of sequence, or that has used up the whole response, has no chains; its z responses are the plan itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .. import rng
from ..errors import ConfigError
from ..parsing import PLAN_CLOSE
from ..records import Group, Question
from .decode import MEMORY_BUDGET, Decoder, Draw, add_response, occurrences, prompt_segment, split_by_memory
from .params import SamplingParams
from .prompts import encode_prompt

if TYPE_CHECKING:
    from ..policy import Policy


def sample_trees(
    policy: Policy,
    questions: Sequence[Question],
    num_plans: int,
    cots_per_plan: int,
    params: SamplingParams,
    *,
    seed: int,
    step: int,
    memory_budget: int = MEMORY_BUDGET,
) -> list[Group]:
    """Sample `num_plans` plans for each question and `cots_per_plan` chains under each plan.

    Prompt and plans are computed and stored once. The draws of plan i depend on (seed, step, question id, i),
    those of its chain k on (seed, step, question id, i, k) and the plan, and on nothing else. Training uses
    `Segment.logprobs`, taken under the temperature alone; see `ptagrpo.rollouts` for why.

    Args:
        params: `max_completion_length` bounds plan and chain together, `max_plan_length` the plan segment.
        memory_budget: bytes of keys and values. Where it is short, fewer responses decode side by side, and
            questions are sampled one part after the other, with the same result.

    Returns:
        One group per question, in order; responses in plan-major order, segments depth first.

    Raises:
        ConfigError: `num_plans` or `cots_per_plan` < 1. DataError: an empty prompt.
    """
    for name, value in (("num_plans", num_plans), ("cots_per_plan", cots_per_plan)):
        if value < 1:
            raise ConfigError(f"{name}: got {value}, need at least 1")
    prompts = [encode_prompt(policy, question) for question in questions]
    names = occurrences(questions)
    stops = policy.stop_table([PLAN_CLOSE])
    groups: list[Group] = []
    for part in split_by_memory(policy, prompts, num_plans, params.plan_limit, memory_budget):
        decoder = Decoder(policy, params, memory_budget)
        handles = decoder.prefill([prompts[q] for q in part])
        plan_rows = [(q, i) for q in part for i in range(num_plans)]
        plans = decoder.draw(
            parents=[handles[q - part.start] for q, _ in plan_rows],
            keys=[rng.key(seed, step, *names[q], "plan", i) for q, i in plan_rows],
            limits=[params.plan_limit] * len(plan_rows),
            stops=stops,
        )
        open_rows = [
            (row, k)
            for row, plan in enumerate(plans)
            if plan.finish != "eos" and len(plan.token_ids) < params.max_completion_length
            for k in range(cots_per_plan)
        ]
        drawn = decoder.draw(
            parents=[plans[row].handle for row, _ in open_rows],
            keys=[
                rng.key(seed, step, *names[plan_rows[row][0]], "chain", plan_rows[row][1], k)
                for row, k in open_rows
            ],
            limits=[params.max_completion_length - len(plans[row].token_ids) for row, _ in open_rows],
            keep=False,
        )
        chains: dict[int, list[Draw]] = {}
        for (row, _), chain in zip(open_rows, drawn, strict=True):
            chains.setdefault(row, []).append(chain)
        for q in part:
            group = Group(questions[q], [prompt_segment(prompts[q])], [], num_plans, cots_per_plan)
            for i in range(num_plans):
                row = (q - part.start) * num_plans + i
                _add_plan(policy, group, i, plans[row], chains.get(row, []))
            groups.append(group)
    return groups


def _add_plan(policy: Policy, group: Group, plan_index: int, plan: Draw, chains: Sequence[Draw]) -> None:
    """Append one plan, its chains and its responses to the group."""
    group.segments.append(plan.segment(parent=0))
    plan_segment = len(group.segments) - 1
    for k in range(group.cots_per_plan):
        path: tuple[int, ...] = (plan_segment,)
        if chains:
            group.segments.append(chains[k].segment(parent=plan_segment))
            path += (len(group.segments) - 1,)
        add_response(policy, group, path, plan_index, k)
