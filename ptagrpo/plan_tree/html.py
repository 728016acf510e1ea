"""A plan tree as static HTML for notebooks: no script, no style sheet, readable where styles are stripped."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .record import Chain, Plan, PlanTree

LONGEST = 3000  # characters of one text that are shown

_LINE = "1px solid rgba(128,128,128,.35)"
_CELL = f"text-align:left;vertical-align:top;padding:6px 10px;border-top:{_LINE}"
_TEXT = "white-space:pre-wrap;overflow-wrap:anywhere;margin:4px 0 8px"
_RIGHT, _WRONG, _SOFT = "color:#12806f", "color:#c2452d", "opacity:.7"


def to_html(tree: PlanTree) -> str:
    """The tree as a table with a row for each plan; its chains are folded."""
    total = len(tree.chains)
    facts = [f"{tree.right} of {total} chains right"]
    if tree.answer is not None:
        facts.insert(0, f"right answer <b>{escape(str(tree.answer))}</b>")
    if tree.step is not None:
        facts.insert(0, f"step {tree.step}")
    if tree.tie:
        facts.append("all plans score alike")
    rows = "".join(_plan(number, plan) for number, plan in enumerate(tree.plans, start=1))
    return (
        '<div style="max-width:60em">'
        f'<div style="{_TEXT}"><b>{escape(shorten(tree.question))}</b></div>'
        f'<div style="{_SOFT}">{" · ".join(facts)}</div>'
        f'<table style="border-collapse:collapse;width:100%;margin-top:6px">{rows}</table></div>'
    )


def shorten(text: str, longest: int = LONGEST) -> str:
    """The text, or its beginning and how much is left out."""
    if len(text) <= longest:
        return text
    return f"{text[:longest]}… ({len(text) - longest:,} more characters)"


def _plan(number: int, plan: Plan) -> str:
    text = "(no plan)" if plan.text is None else shorten(plan.text)
    reward = "" if plan.reward is None else f'<div style="{_SOFT}">plan reward {plan.reward:.2f}</div>'
    chains = "".join(_chain(chain) for chain in plan.chains)
    return (
        f'<tr><td style="{_CELL};white-space:nowrap"><b>Plan {number}</b><div>{plan.right} of '
        f"{len(plan.chains)} right</div>{reward}</td>"
        f'<td style="{_CELL};width:35%"><div style="{_TEXT}">{escape(text)}</div></td>'
        f'<td style="{_CELL}">{chains}</td></tr>'
    )


def _chain(chain: Chain) -> str:
    mark, colour = (
        ("·", _SOFT) if chain.correct is None else ("✓", _RIGHT) if chain.correct else ("✗", _WRONG)
    )
    answer = "no answer" if chain.answer is None else escape(shorten(str(chain.answer), 80))
    pay = [f"{chain.length} tokens"]
    if chain.reward is not None:
        pay.append(f"reward {chain.reward:.2f}")
    if chain.advantage is not None:
        pay.append(f"advantage {chain.advantage:+.2f}")
    if chain.unclosed:
        pay.append("plan not closed")
    if chain.finish == "length":
        pay.append("cut off")
    return (
        f'<details><summary><b style="{colour}">{mark}</b> {answer} '
        f'<span style="{_SOFT}">{" · ".join(pay)}</span></summary>'
        f'<div style="{_TEXT}">{escape(shorten(chain.text.strip()))}</div></details>'
    )
