"""One self-contained HTML page of plan trees: the same questions before and after training, side by side.

What a person sees: each question once; under it, for each stage, the plans beside one another with their
scores, and under each plan its chains of thought, folded, with a tick or a cross. Works without scripts, in
light and dark, on a phone and by keyboard. It draws any plan-tree `Group`; a `View` adds what only the task
knows (which plan steps and which lines are right, a picture).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape

from ...errors import DataError
from ...parsing import parse_response
from ...records import Group, Question, Response
from .style import SCRIPT, STYLE

Marked = list[tuple[str, str]]  # (text, "right" | "wrong" | "missing" | "plain")


class View:
    """How a task shows its questions. This one knows nothing of the task: texts as they are."""

    def heading(self, question: Question) -> str:
        """A short name of the question."""
        text = (
            question.prompt
            if isinstance(question.prompt, str)
            else str(question.prompt[-1].get("content", ""))
        )
        return text if len(text) <= 90 else text[:87] + "…"

    def tag(self, question: Question) -> str:
        """A word on the kind or difficulty of the question, or ""."""
        return ""

    def body(self, question: Question) -> str:
        """The question itself, as HTML."""
        text = (
            question.prompt
            if isinstance(question.prompt, str)
            else "\n\n".join(str(message.get("content", "")) for message in question.prompt)
        )
        return f'<p class="prose">{escape(text)}</p>'

    def plan(self, question: Question, plan: str | None) -> Marked | None:
        """The steps of a plan with marks, or None to show the plan as text."""
        return None

    def steps(self, question: Question, think: str) -> Marked:
        """The lines of a chain of thought with marks."""
        return [(line, "plain") for line in think.splitlines() if line.strip()]


@dataclass
class Stage:
    """One column in time: a name ("Before", "After PTA-GRPO"), one line about it, and its groups."""

    name: str
    groups: Sequence[Group]
    note: str = ""


@dataclass
class Tile:
    """A headline number: what it is, the number before (or None) and after, and a remark."""

    what: str
    before: str | None
    after: str
    note: str = ""


@dataclass
class NumberTable:
    """A table of results: caption, column heads, rows of text cells ("value|remark" shows the remark small),
    a foot."""

    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    foot: Sequence[str] = field(default_factory=list)


def _dots(group: Group) -> str:
    per_plan = [
        ["ok" if r.correct else "no" for r in group.responses if r.plan_index == i]
        for i in range(group.num_plans)
    ]
    right = sum(bool(r.correct) for r in group.responses)
    inner = "".join(
        "<span>" + "".join(f'<i class="{c}"></i>' for c in chain) + "</span>" for chain in per_plan
    )
    label = f"{right} of {len(group.responses)} chains right"
    return f'<span class="dots" role="img" aria-label="{label}">{inner}</span>'


def _chain(view: View, question: Question, response: Response) -> str:
    ok = bool(response.correct)
    parsed = parse_response(response.text)
    if parsed.think is not None:
        steps = view.steps(question, parsed.think)
    else:
        tail = response.text.split("</plan>", 1)[-1].strip()
        steps = [(tail or "(nothing after the plan)", "plain")]
    lines = "".join(f'<li class="{escape(mark)}">{escape(text)}</li>' for text, mark in steps)
    answer = "no answer" if response.answer is None else f"answer <b>{escape(response.answer)}</b>"
    pay = [
        f"reward {response.reward:.2f}",
        f"advantage {response.advantage:+.2f}",
        f"{response.length} tokens",
    ]
    if response.finish == "length":
        pay.append("cut off")
    return (
        f'<details class="chain {"ok" if ok else "no"}"><summary>'
        f'<span class="mark" role="img" aria-label="{"right" if ok else "wrong"}">{"✓" if ok else "✗"}</span>'
        f'<span class="answer">{answer}</span><span class="fold" aria-hidden="true">›</span></summary>'
        f'<div class="inside"><ol class="steps">{lines}</ol>'
        f'<p class="pay">{" · ".join(f"<span>{part}</span>" for part in pay)}</p></div></details>'
    )


def _plan(view: View, group: Group, index: int) -> str:
    chains = [r for r in group.responses if r.plan_index == index]
    right = sum(bool(r.correct) for r in chains)
    kind = "all" if right == len(chains) else "none" if right == 0 else "some"
    plan = chains[0].plan
    marked = view.plan(group.question, plan)
    if marked is not None:
        shown = "".join(f'<li class="{escape(mark)}">{escape(text)}</li>' for text, mark in marked)
        shown = f'<ol class="chips">{shown}</ol>'
    else:
        shown = f'<p class="text">{escape(plan if plan is not None else "(no plan)")}</p>'
    reward = (
        f'<div class="pmeta">plan reward {group.plan_rewards[index]:.2f}</div>' if group.plan_rewards else ""
    )
    return (
        f'<div class="plan {kind}"><div class="phead"><div class="ptop"><span>Plan {index + 1}</span>'
        f'<span class="meter" aria-hidden="true"><i style="width:{100 * right // len(chains)}%"></i></span>'
        f"<b>{right} of {len(chains)}</b></div>{shown}{reward}</div>"
        + "".join(_chain(view, group.question, r) for r in chains)
        + "</div>"
    )


def _count(group: Group) -> int:
    return sum(bool(r.correct) for r in group.responses)


def _question(view: View, number: int, per_stage: list[tuple[Stage, Group]]) -> str:
    question = per_stage[0][1].question
    tag = view.tag(question)
    tag = f'<span class="tag">{escape(tag)}</span>' if tag else ""
    gold = (
        ""
        if question.answer is None
        else f'<span class="gold">right answer <b>{escape(question.answer)}</b></span>'
    )
    stages = "".join(
        f'<section class="stage"><div class="shead"><h3>{escape(stage.name)}</h3>{_dots(group)}'
        f'<span class="count">{_count(group)} of {len(group.responses)} chains right</span></div>'
        f'<div class="plans">{"".join(_plan(view, group, i) for i in range(group.num_plans))}</div></section>'
        for stage, group in per_stage
    )
    return (
        f'<article class="q" id="q{number}"><div class="qhead">'
        f"<h2>{escape(view.heading(question))}</h2>{tag}{gold}</div>"
        f'<div class="qbody">{view.body(question)}</div>{stages}</article>'
    )


def _contents(view: View, pairs: list[list[tuple[Stage, Group]]]) -> str:
    rows = []
    for number, per_stage in enumerate(pairs, start=1):
        question, tag = per_stage[0][1].question, view.tag(per_stage[0][1].question)
        total = len(per_stage[-1][1].responses)
        counts = " → ".join(str(_count(group)) for _, group in per_stage)
        rows.append(
            f'<li><a href="#q{number}"><span class="name">{escape(view.heading(question))}</span>'
            + (f'<span class="tag">{escape(tag)}</span>' if tag else "")
            + f'<span class="num">{counts} of {total}</span></a></li>'
        )
    return f'<nav aria-label="Questions"><ul class="toc">{"".join(rows)}</ul></nav>'


def _tiles(tiles: Sequence[Tile]) -> str:
    return (
        '<div class="tiles">'
        + "".join(
            f'<div class="tile"><div class="what">{escape(t.what)}</div><div class="big">'
            + (f'{escape(t.before)}<span class="to" aria-label="to">→</span>' if t.before is not None else "")
            + f'{escape(t.after)}</div><div class="note">{escape(t.note)}</div></div>'
            for t in tiles
        )
        + "</div>"
    )


def _cell(text: str, tag: str) -> str:
    value, _, remark = text.partition("|")
    return f"<{tag}>{escape(value)}" + (f" <small>{escape(remark)}</small>" if remark else "") + f"</{tag}>"


def _table(table: NumberTable) -> str:
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in table.head)
    rows = "".join("<tr>" + "".join(_cell(text, "td") for text in row) + "</tr>" for row in table.rows)
    foot = "".join(f'<p class="foot">{escape(line)}</p>' for line in table.foot)
    return (
        f'<div class="numbers"><table><caption>{escape(table.caption)}</caption>'
        f"<thead><tr>{head}</tr></thead>"
        f"<tbody>{rows}</tbody></table>{foot}</div>"
    )


def trees_page(
    stages: Sequence[Stage],
    *,
    title: str,
    lead: str,
    view: View | None = None,
    tiles: Sequence[Tile] = (),
    table: NumberTable | None = None,
    footer: str = "",
) -> str:
    """Return the page as HTML text.

    Args:
        stages: one or more; every stage holds groups (plan trees) of the same questions, matched by question
            id. title, lead, footer: plain text.
        view: how the task shows its questions; the default shows texts as they are.
        tiles, table: headline numbers and a table of results above the trees.

    Raises:
        DataError: no stage or no group, or a stage lacks a question of the first stage (names the question).
    """
    view = view or View()
    if not stages or not stages[0].groups:
        raise DataError("trees_page: expected at least one stage with at least one group")
    by_id = [{group.question.id: group for group in stage.groups} for stage in stages]
    pairs = []
    for group in stages[0].groups:
        for stage, groups in zip(stages, by_id, strict=True):
            if group.question.id not in groups:
                raise DataError(
                    f"trees_page: stage {stage.name!r} lacks question {group.question.id!r}, which "
                    f"{stages[0].name!r} has"
                )
        pairs.append(
            [(stage, groups[group.question.id]) for stage, groups in zip(stages, by_id, strict=True)]
        )
    marks = view.plan(stages[0].groups[0].question, None) is not None
    legend = (
        '<span><ol class="chips"><li class="right">in its place</li><li class="wrong">wrong here</li>'
        '<li class="missing">missing</li></ol></span>'
        if marks
        else ""
    )
    notes = " ".join(f"{stage.name}: {stage.note}" for stage in stages if stage.note)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body><main>"
        f'<header><h1>{escape(title)}</h1><p class="lead">{escape(lead)}</p></header>'
        + (_tiles(tiles) if tiles else "")
        + (_table(table) if table else "")
        + f'<div class="legend">{legend}<span>✓ right answer, ✗ wrong; click a chain to read it</span>'
        '<span class="tools"><button data-open="yes" hidden>Open all chains</button>'
        '<button data-open="no" hidden>Fold all</button></span></div>'
        + _contents(view, pairs)
        + "".join(_question(view, i, pair) for i, pair in enumerate(pairs, start=1))
        + f"<footer><p>{escape(notes)}</p><p>{escape(footer)}</p></footer></main>"
        + f"<script>{SCRIPT}</script></body></html>\n"
    )
