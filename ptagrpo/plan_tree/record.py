"""What is kept of a group to look at, and its form as a row of trees/trees_{step}.jsonl.gz.

A row:

    {"step", "id", "prompt", "answer", "plans": [{"plan", "score", "reward", "chains": [
        {"text", "answer", "correct", "reward", "advantage", "length", "finish", "rewards", "unclosed"}]}]}

"unclosed" is there only where it is true, "tokens" (of a plan or a chain) only where a run was asked for it.
A flat group is a tree in which every response is a plan with one chain.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..errors import DataError
from ..parsing import PLAN_CLOSE, parse_response

if TYPE_CHECKING:
    from rich.console import RenderableType

    from ..records import Group, Response

DIGITS = 5  # of rewards and advantages in files for the eye; completions/ has them in full


@dataclass
class Tokens:
    """The tokens of one segment: their texts and, for each, what was recorded.

    logprobs: log-probability when it was sampled (temperature alone). entropies: nats. ratios: probability in
    the last update that used it over probability when sampled; None before such an update.
    """

    pieces: list[str]
    logprobs: list[float]
    entropies: list[float]
    ratios: list[float] | None = None

    def to_row(self) -> dict[str, Any]:
        """For JSON; three decimals."""
        row: dict[str, Any] = {"pieces": self.pieces}
        for name, values in (("logprob", self.logprobs), ("entropy", self.entropies), ("ratio", self.ratios)):
            if values is not None:
                row[name] = [_rounded(value, 3) for value in values]
        return row

    @classmethod
    def from_row(cls, row: Mapping[str, Any] | None) -> Tokens | None:
        """Back from `to_row`; None stays None."""
        if row is None:
            return None
        return cls(row["pieces"], row["logprob"], row["entropy"], row.get("ratio"))


@dataclass
class Chain:
    """One response below its plan. text: what follows `</plan>`, or all of it where the plan is not closed.

    rewards: the reward's components by name, before weighting. finish: "eos", "stop" or "length".
    """

    text: str
    answer: str | None = None
    correct: bool | None = None
    reward: float | None = None
    advantage: float | None = None
    length: int = 0
    finish: str = "eos"
    rewards: dict[str, float | None] = field(default_factory=dict)
    unclosed: bool = False
    tokens: Tokens | None = None


@dataclass
class Plan:
    """A plan with its chains. score: share of its chains that end right. reward: of Eq. 2; None: not judged."""

    text: str | None
    score: float | None
    reward: float | None
    chains: list[Chain]
    tokens: Tokens | None = None

    @property
    def right(self) -> int:
        """Chains that end right."""
        return sum(bool(chain.correct) for chain in self.chains)


@dataclass
class PlanTree:
    """The plans and chains sampled for one question at one step of training (None: outside training)."""

    id: str
    prompt: str | list[dict[str, Any]]
    answer: str | None
    plans: list[Plan]
    step: int | None = None

    @classmethod
    def from_group(
        cls,
        group: Group,
        step: int | None = None,
        tokens: Callable[[int], Tokens | None] = lambda segment: None,
    ) -> PlanTree:
        """What is worth looking at in a sampled (and perhaps scored) group.

        Args:
            tokens: the tokens to keep of a segment, by its index in the group.
        """
        plans = []
        for index in range(group.num_plans):
            responses = [response for response in group.responses if response.plan_index == index]
            deep = [response for response in responses if len(response.path) > 1]
            chains = [_chain(response) for response in responses]
            for chain, response in zip(chains, responses, strict=True):
                if len(response.path) > 1 or group.cots_per_plan == 1:
                    chain.tokens = tokens(response.path[-1])
            shared = deep or (responses if group.cots_per_plan > 1 else [])
            plans.append(
                Plan(
                    text=responses[0].plan if responses else None,
                    score=group.plan_scores[index] if group.plan_scores else None,
                    reward=group.plan_rewards[index] if group.plan_rewards else None,
                    chains=chains,
                    tokens=tokens(shared[0].path[0]) if shared else None,
                )
            )
        return cls(group.question.id, group.question.prompt, group.question.answer, plans, step)

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> PlanTree:
        """Back from `to_row`.

        Raises:
            DataError: the row has no plans, or something in it is not what it should be.
        """
        try:
            plans = [
                Plan(plan.get("plan"), plan.get("score"), plan.get("reward"),
                     [_chain_from_row(chain) for chain in plan["chains"]], Tokens.from_row(plan.get("tokens")))
                for plan in row["plans"]
            ]  # fmt: skip
            return cls(str(row["id"]), row["prompt"], row.get("answer"), plans, row.get("step"))
        except (KeyError, TypeError, AttributeError) as error:
            raise DataError(f"not a plan tree: {error!r}; expected id, prompt, plans with chains") from error

    def to_row(self) -> dict[str, Any]:
        """The row of trees/*.jsonl.gz; JSON-serialisable where prompt and answer are."""
        plans = []
        for plan in self.plans:
            row = {
                "plan": plan.text,
                "score": _rounded(plan.score),
                "reward": _rounded(plan.reward),
                "chains": [_chain_row(chain) for chain in plan.chains],
            }
            plans.append(row | ({"tokens": plan.tokens.to_row()} if plan.tokens else {}))
        return {
            "step": self.step,
            "id": self.id,
            "prompt": self.prompt,
            "answer": self.answer,
            "plans": plans,
        }

    @property
    def chains(self) -> list[Chain]:
        """All chains, plan by plan."""
        return [chain for plan in self.plans for chain in plan.chains]

    @property
    def right(self) -> int:
        """Chains that end right."""
        return sum(plan.right for plan in self.plans)

    @property
    def unclosed(self) -> int:
        """Chains whose plan is not closed."""
        return sum(chain.unclosed for chain in self.chains)

    @property
    def tie(self) -> bool:
        """Whether all plans score alike, so that plans cannot be told apart here."""
        scores = {plan.score for plan in self.plans}
        return len(self.plans) > 1 and len(scores) == 1 and None not in scores

    @property
    def question(self) -> str:
        """The prompt as one text; of chat messages, those of the user."""
        return prompt_text(self.prompt)

    def _repr_html_(self) -> str:
        from .html import to_html

        return to_html(self)

    def __rich__(self) -> RenderableType:
        from .terminal import to_rich

        return to_rich(self)


def prompt_text(prompt: Any) -> str:
    """A prompt as one text; of chat messages, those of the user (all, where there is none)."""
    if isinstance(prompt, str):
        return prompt
    messages = [message for message in prompt if isinstance(message, Mapping)]
    asked = [message for message in messages if message.get("role") == "user"] or messages
    return "\n\n".join(str(message.get("content", "")) for message in asked)


def _chain(response: Response) -> Chain:
    head, closed, tail = response.text.partition(PLAN_CLOSE)
    parsed = parse_response(response.text)
    return Chain(
        text=tail if closed else head,
        answer=response.answer,
        correct=response.correct,
        reward=response.reward,
        advantage=response.advantage,
        length=response.length,
        finish=response.finish,
        rewards=dict(response.rewards),
        unclosed=not parsed.plan_closed,
    )


def _chain_row(chain: Chain) -> dict[str, Any]:
    row: dict[str, Any] = {
        "text": chain.text,
        "answer": chain.answer,
        "correct": chain.correct,
        "reward": _rounded(chain.reward),
        "advantage": _rounded(chain.advantage),
        "length": chain.length,
        "finish": chain.finish,
    }
    if chain.rewards:
        row["rewards"] = {name: _rounded(value) for name, value in chain.rewards.items()}
    if chain.unclosed:
        row["unclosed"] = True
    if chain.tokens:
        row["tokens"] = chain.tokens.to_row()
    return row


def _chain_from_row(row: Mapping[str, Any]) -> Chain:
    values = {name: row[name] for name in Chain.__dataclass_fields__ if name in row and name != "tokens"}
    return Chain(**{"text": "", **values}, tokens=Tokens.from_row(row.get("tokens")))


def _rounded(value: float | None, digits: int = DIGITS) -> float | None:
    """Rounded; NaN and infinities, which JSON has no word for, become None."""
    if value is None or not math.isfinite(value):
        return None
    return round(float(value), digits)
