"""A plan tree in a terminal, drawn by rich: question, plans with their scores, chains with their answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text
from rich.tree import Tree

if TYPE_CHECKING:
    from .record import Chain, Plan, PlanTree

LONGEST = 240  # characters of a chain that are shown


def to_rich(tree: PlanTree) -> Tree:
    """The tree as a rich renderable: `rich.print(tree)` or `console.print(tree)`."""
    head = Text(" ".join(tree.question.split()), style="bold")
    facts = f"{tree.right} of {len(tree.chains)} chains right"
    if tree.answer is not None:
        facts = f"right answer {tree.answer}, {facts}"
    if tree.step is not None:
        facts = f"step {tree.step}, {facts}"
    head.append(f"\n{facts}", style="dim not bold")
    drawn = Tree(head, guide_style="dim")
    for number, plan in enumerate(tree.plans, start=1):
        branch = drawn.add(_plan(number, plan))
        for chain in plan.chains:
            branch.add(_chain(chain))
    return drawn


def mark(correct: bool | None) -> tuple[str, str]:
    """Sign and style of a verdict."""
    return ("·", "dim") if correct is None else ("✓", "green") if correct else ("✗", "red")


def _plan(number: int, plan: Plan) -> Text:
    text = Text(f"plan {number}  ", style="bold")
    for chain in plan.chains:
        text.append(*mark(chain.correct))
    if plan.reward is not None:
        text.append(f"  reward {plan.reward:.2f}", style="dim not bold")
    text.append(f"\n{'(no plan)' if plan.text is None else ' '.join(plan.text.split())}", style="not bold")
    return text


def _chain(chain: Chain) -> Text:
    text = Text()
    text.append(*mark(chain.correct))
    text.append(f" {'no answer' if chain.answer is None else chain.answer}")
    pay = [f"{chain.length} tokens"]
    if chain.reward is not None:
        pay.insert(0, f"reward {chain.reward:.2f}")
    if chain.advantage is not None:
        pay.insert(1, f"advantage {chain.advantage:+.2f}")
    pay += [note for note, told in (("plan not closed", chain.unclosed), ("cut off", chain.finish == "length"))
            if told]  # fmt: skip
    text.append(f"  {', '.join(pay)}", style="dim")
    flow = " ".join(chain.text.split())
    text.append(f"\n{flow if len(flow) <= LONGEST else flow[: LONGEST - 1] + '…'}", style="dim")
    return text
