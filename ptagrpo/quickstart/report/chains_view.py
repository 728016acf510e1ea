"""How the page shows questions of the built-in task: statements, the graph of quantities, marked plans and
lines."""

from __future__ import annotations

import re
from html import escape

from ...data.chains import MODULUS, Problem, check_plan, parse_question
from ...records import Question
from .trees import Marked, View

_NODE_W, _NODE_H, _GAP_X, _ROW = 62, 42, 34, 78


def true_values(problem: Problem) -> dict[str, int]:
    """The value of every quantity of the question, distractors included."""
    values, by_name = problem.values(), problem.by_name
    waiting = [d for d in problem.definitions if d.name not in values]
    while waiting:
        ready = [d for d in waiting if all(p in values for p in d.parents)]
        if not ready:
            break  # a distractor on an undefined name has no value
        for d in ready:
            values[d.name] = ((d.constant or 0) + sum(values[p] for p in d.parents)) % MODULUS
        waiting = [d for d in waiting if d not in ready and by_name[d.name] is d]
    return values


def true_lines(problem: Problem, values: dict[str, int]) -> list[str]:
    """What a line of reasoning says when it is right, for every quantity of the question."""
    lines = []
    for d in problem.definitions:
        numbers = [str(values.get(term, term)) for term in d.terms]
        sums = f" {' plus '.join(d.terms)} = {' plus '.join(numbers)} =" if d.parents else ""
        lines.append(f"{d.name}{sums} {values.get(d.name)}.")
    return lines


def graph_svg(problem: Problem) -> str:
    """The graph of quantities as inline SVG: the chain from its constant to the goal, distractors below,
    dashed."""
    values, order = true_values(problem), list(reversed(problem.plan))
    others = [d.name for d in problem.definitions if d.name not in problem.plan]
    by_name = problem.by_name
    place = {name: (i * (_NODE_W + _GAP_X), 36) for i, name in enumerate(order)}
    taken: set[int] = set()
    for name in others:
        parents = by_name[name].parents
        want = order.index(parents[0]) if parents else 0
        free = [i for i in range(len(order)) if i not in taken] or [len(order)]
        column = min(free, key=lambda i: (abs(i - want), i))
        taken.add(column)
        place[name] = (column * (_NODE_W + _GAP_X), 36 + _ROW)
    width = max(x for x, _ in place.values()) + _NODE_W + 8
    height = 36 + _ROW + _NODE_H + 4 if others else 36 + _NODE_H + 4
    parts: list[str] = []
    for d in problem.definitions:
        x, y = place[d.name]
        idle = " idle" if d.name in others else ""
        for parent in d.parents:
            px, py = place[parent]
            head = f'marker-end="url(#head{"-idle" if idle else ""})"'
            if idle:
                dx = 0 if x == px else 12 if px > x else -12
                path = f"M{px + _NODE_W / 2 - dx},{py + _NODE_H} L{x + _NODE_W / 2 + dx},{y - 4}"
            elif x - px == _NODE_W + _GAP_X:
                path = f"M{px + _NODE_W},{py + _NODE_H / 2} L{x - 4},{y + _NODE_H / 2}"
            else:  # an earlier quantity: an arc above those between
                middle = (px + x + _NODE_W) / 2
                path = f"M{px + _NODE_W / 2},{py} Q{middle},{py - 42} {x + _NODE_W / 2},{y - 4}"
            parts.append(f'<path class="g-edge{idle}" d="{path}" {head}/>')
    for name, (x, y) in place.items():
        kind = " idle" if name in others else " goal" if name == problem.goal else ""
        value = values.get(name)
        parts.append(
            f'<rect class="g-node{kind}" x="{x + 1}" y="{y}" width="{_NODE_W - 2}" height="{_NODE_H}" '
            f'rx="10"/>'
            f'<text class="g-name{kind}" x="{x + _NODE_W / 2}" y="{y + 18}">{escape(name)}</text>'
            f'<text class="g-value{kind}" x="{x + _NODE_W / 2}" y="{y + 33}">'
            f"{'' if value is None else value}</text>"
        )
    markers = "".join(
        f'<marker id="head{kind}" viewBox="0 0 8 8" refX="6" refY="4" markerWidth="7" markerHeight="7" '
        f'orient="auto"><path class="g-head{kind.replace("-", " ")}" d="M0,0 L8,4 L0,8 z"/></marker>'
        for kind in ("", "-idle")
    )
    label = f"Needed, in order of computing: {', '.join(order)}. Distractors: {', '.join(others) or 'none'}."
    return (
        f'<svg viewBox="-4 0 {width} {height}" role="img" aria-label="{escape(label)}">'
        f"<defs>{markers}</defs>{''.join(parts)}</svg>"
    )


class ChainsView(View):
    """The built-in task: its graph as a picture, plans as chips, wrong lines marked."""

    def heading(self, question: Question) -> str:
        return f"What is {parse_question(str(question.prompt)).goal}?"

    def tag(self, question: Question) -> str:
        return f"{parse_question(str(question.prompt)).length} steps"

    def body(self, question: Question) -> str:
        problem = parse_question(str(question.prompt))
        needed = set(problem.plan)
        facts = "".join(
            f"<li{'' if d.name in needed else ' class=idle'}>{escape(d.text())}</li>"
            for d in problem.definitions
        )
        return f'<ul class="facts">{facts}</ul><div class="picture">{graph_svg(problem)}</div>'

    def plan(self, question: Question, plan: str | None) -> Marked | None:
        check = check_plan(str(question.columns["gold_plan"]), plan)
        return [*check.marks, *((name, "missing") for name in check.missing)]

    def steps(self, question: Question, think: str) -> Marked:
        """Sentence by sentence: right where it is exactly what working the quantity out gives."""
        problem = parse_question(str(question.prompt))
        right = set(true_lines(problem, true_values(problem)))
        sentences = (sentence.strip() for sentence in re.findall(r"[^.]+\.?", think))
        return [(sentence, "right" if sentence in right else "wrong") for sentence in sentences if sentence]
