"""The report: numbers against independent formulas, a page that stands alone and says what the groups say, a
picture."""

from __future__ import annotations

import math
import random
import re
import struct
from html.parser import HTMLParser

import numpy as np
import pytest

from ptagrpo.data import chains
from ptagrpo.errors import DataError
from ptagrpo.quickstart.report.chains_view import ChainsView, graph_svg, true_values
from ptagrpo.quickstart.report.curves import draw_curves, smooth
from ptagrpo.quickstart.report.trees import NumberTable, Stage, Tile, trees_page
from ptagrpo.quickstart.results import (
    HeldOut,
    Sample,
    Share,
    mcnemar,
    paired,
    paired_sentence,
    percent,
    result_rows,
    wilson,
)
from ptagrpo.records import Group, Question, Response

VOID = {"meta", "br", "hr", "img", "input", "link", "path", "rect"}


class Page(HTMLParser):
    """Checks that tags nest, and collects what the tests look at."""

    def __init__(self, text: str):
        super().__init__()
        self.stack: list[str] = []
        self.tags: list[tuple[str, dict]] = []
        self.ids: list[str] = []
        self.text = ""
        self.feed(text)
        assert not self.stack, self.stack

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if "id" in dict(attrs):
            self.ids.append(dict(attrs)["id"])
        if tag not in VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.stack and self.stack[-1] == tag, (tag, self.stack)
        self.stack.pop()

    def handle_data(self, data):
        if not self.stack or self.stack[-1] not in ("style", "script"):
            self.text += data


def group(problem: chains.Problem, id: str, seed: int, num_plans: int = 4, cots: int = 3) -> Group:
    """A made-up tree: plans of the tiring teacher, reasoning with guesses."""
    rng = random.Random(seed)
    responses, scores = [], []
    for i in range(num_plans):
        plan = chains.teacher_record(problem, rng)["plan"].split()
        right = 0
        for k in range(cots):
            think, answer = problem.think(plan, rng)
            text = f"<plan> {' '.join(plan)} </plan> <think> {think} </think> <answer> {answer} </answer>"
            correct = answer == problem.answer
            right += correct
            responses.append(
                Response((i, 9), i, k, text, " ".join(plan), answer, "eos", 40, correct=correct, reward=1.5)
            )
        scores.append(right / cots)
    exps = np.exp(np.array(scores) / 0.3)
    return Group(problem.to_question(id), [], responses, num_plans, cots, scores, list(exps / exps.sum()))


@pytest.fixture(scope="module")
def stages() -> list[Stage]:
    problems = chains.problems(4, split="test", seed=0)
    return [
        Stage(name, [group(p, f"q{i}", 10 * s + i) for i, p in enumerate(problems)], "a note")
        for s, name in enumerate(("Cold start", "After"))
    ]


def test_the_page_stands_alone(stages):
    html = trees_page(stages, title="T", lead="L", view=ChainsView())
    page = Page(html)
    assert not re.search(r"https?:|//[a-z]|@import|url\((?!#)", html)
    assert all(not ({"src", "srcset"} & attrs.keys()) for _, attrs in page.tags)
    links = [attrs["href"] for _, attrs in page.tags if "href" in attrs]
    assert links == [f"#q{i}" for i in range(1, 5)] and set(link[1:] for link in links) <= set(page.ids)
    assert ("meta", {"name": "viewport", "content": "width=device-width,initial-scale=1"}) in page.tags
    assert "prefers-color-scheme:dark" in html and '<html lang="en">' in html


def test_the_page_says_what_the_groups_say(stages):
    page = Page(trees_page(stages, title="T", lead="L", view=ChainsView()))
    groups = [g for stage in stages for g in stage.groups]
    responses = [r for g in groups for r in g.responses]
    details = [attrs["class"] for tag, attrs in page.tags if tag == "details"]
    assert len(details) == len(responses)
    assert details.count("chain ok") == sum(r.correct for r in responses)
    labels = [attrs["aria-label"] for tag, attrs in page.tags if attrs.get("class") == "dots"]
    by_question = [stage.groups[i] for i in range(4) for stage in stages]
    assert labels == [f"{sum(r.correct for r in g.responses)} of 12 chains right" for g in by_question]
    for g in groups:
        assert f"right answer {g.question.answer}" in page.text
        assert all(f"plan reward {value:.2f}" in page.text for value in g.plan_rewards)
    plans = [(g, plan) for g in groups for plan in {r.plan_index: r.plan for r in g.responses}.values()]
    missing = sum(len(chains.check_plan(g.question.columns["gold_plan"], plan).missing) for g, plan in plans)
    shown = sum(tag == "li" and attrs.get("class") == "missing" for tag, attrs in page.tags)
    assert shown == missing + 1  # one in the legend


def test_text_of_a_model_cannot_become_markup():
    evil = '<script>alert(1)</script> & "quotes"'
    question = Question("q", evil, "1<2")
    text = f"<plan> {evil} </plan> <think> {evil} </think> <answer> {evil} </answer>"
    response = Response((1, 2), 0, 0, text, evil, evil, "length", 3, correct=False)
    tree = Group(question, [], [response], 1, 1, [0.0], [1.0])
    html = trees_page(
        [Stage(evil, [tree], evil)],
        title=evil,
        lead=evil,
        footer=evil,
        tiles=[Tile(evil, evil, evil, evil)],
        table=NumberTable(evil, [evil], [[evil]], [evil]),
    )

    page = Page(html)
    assert "alert(1)" in page.text and "cut off" in page.text
    assert sum(tag == "script" for tag, _ in page.tags) == 1  # ours


def test_a_response_without_plan_or_answer_is_shown():
    response = Response((1,), 0, 0, "only noise", None, None, "length", 2, correct=False)
    page = Page(
        trees_page(
            [Stage("S", [Group(Question("q", "Why?", "1"), [], [response], 1, 1)])], title="T", lead="L"
        )
    )
    assert "(no plan)" in page.text and "no answer" in page.text and "only noise" in page.text


def test_stages_must_hold_the_same_questions(stages):
    with pytest.raises(DataError, match="'After' lacks question 'q0'"):
        trees_page([stages[0], Stage("After", stages[1].groups[1:])], title="T", lead="L")
    with pytest.raises(DataError, match="at least one"):
        trees_page([], title="T", lead="L")


def test_the_graph_draws_every_quantity_and_every_use():
    for problem in chains.problems(40, split="train", seed=3):
        svg = graph_svg(problem)
        Page(svg)
        assert svg.count("<rect") == len(problem.definitions)
        assert svg.count('class="g-edge') == sum(len(d.parents) for d in problem.definitions)
        width, height = map(float, re.search(r'viewBox="-4 0 ([\d.]+) ([\d.]+)"', svg).groups())
        for x, y in re.findall(r'<rect class="[^"]*" x="([\d.]+)" y="([\d.]+)"', svg):
            assert float(x) + 60 <= width and float(y) + 42 <= height  # nothing is cut off
        values = true_values(problem)
        assert {n: values[n] for n in problem.plan} == problem.values() and len(values) == len(
            problem.definitions
        )


def test_lines_of_reasoning_are_checked_against_the_truth():
    problem = chains.problems(2, split="train", seed=0)[1]
    question, (think, _) = problem.to_question("q"), problem.think()
    view = ChainsView()
    assert [mark for _, mark in view.steps(question, think)] == ["right"] * 3
    lines = think.split(". ")
    value = int(lines[0][-1])
    wrong = ". ".join([lines[0][:-1] + str((value + 1) % 7), *lines[1:]])
    assert [mark for _, mark in view.steps(question, wrong)] == ["wrong", "right", "right"]
    name, other = problem.plan[-2], next(d.name for d in problem.definitions if d.name not in problem.plan)
    lucky = think.replace(f"plus {problem.plan[-1]} =", f"plus {other} =")  # the right value, wrongly come by
    assert lucky != think and name in lucky
    assert "wrong" in [mark for _, mark in view.steps(question, lucky)]


def test_wilson_interval_against_the_quadratic_it_solves():
    for count, right in ((1, 0), (10, 10), (37, 12), (600, 204)):
        low, high = wilson(right, count)
        for bound in (low, high):
            gap = abs(right / count - bound) - 1.959963984540054 * math.sqrt(bound * (1 - bound) / count)
            assert abs(gap) < 1e-7
    assert wilson(0, 0) == (0.0, 1.0) and math.isnan(Share(0, 0).value) and percent(math.nan) == "–"


def test_mcnemar_against_simulation_and_symmetry():
    rng = np.random.default_rng(0)
    for a, b in ((3, 12), (20, 24), (0, 5)):
        flips = rng.binomial(a + b, 0.5, 200_000)
        simulated = np.mean(np.abs(flips - (a + b) / 2) >= abs(a - b) / 2)
        assert mcnemar(a, b) == mcnemar(b, a) == pytest.approx(simulated, abs=0.005)


def held(name: str, right: list[bool]) -> HeldOut:
    return HeldOut(name, [Sample(str(i), 2 + i % 4, ok, ok, 40 + i % 3) for i, ok in enumerate(right)])


def test_paired_difference():
    rng = np.random.default_rng(1)
    x, y = rng.random(500) < 0.8, rng.random(500) < 0.5
    pair = paired(held("x", x.tolist()), held("y", y.tolist()))
    difference = x.astype(float) - y
    half = 1.959963984540054 * difference.std(ddof=1) / math.sqrt(500)
    assert pair.difference == pytest.approx(difference.mean())
    assert (pair.low, pair.high) == pytest.approx((difference.mean() - half, difference.mean() + half))
    assert (pair.only_a, pair.only_b) == ((x & ~y).sum(), (y & ~x).sum())
    assert "x is ahead" in paired_sentence(pair, 500)
    same = paired(held("x", x.tolist()), held("z", x.tolist()))
    assert same.difference == 0 and "no difference" in paired_sentence(same, 500)
    with pytest.raises(ValueError, match="same questions"):
        paired(held("x", [True]), held("y", [True, False]))


def test_result_rows_count_what_is_there():
    model = held("m", [True, False, True, True] * 5)
    head, rows = result_rows([model])
    assert head == [
        "model",
        "accuracy %",
        "right plans %",
        "tokens",
        "2 steps",
        "3 steps",
        "4 steps",
        "5 steps",
    ]
    assert rows[0][1].startswith("75.0|± ") and rows[0][4:] == ["100", "0", "100", "100"]


def test_curves_are_a_picture_of_the_right_size(tmp_path):
    models = [held("Cold start", [True, False] * 40), held("PTA-GRPO", [True] * 80)]
    rl = {"PTA-GRPO": {"accuracy": [0.2, 0.5, 0.9], "plans": [0.3, 0.6, 0.9]}, "GRPO": {"accuracy": [0.2]}}
    path = draw_curves(
        tmp_path / "c.png", base_loss=[2.0, 1.0], cold_loss=[0.5], rl=rl, held_out=models, title="T"
    )
    data = path.read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n" and struct.unpack(">II", data[16:24]) == (1800, 1200)
    assert smooth([1, 2, 3, 4], 2) == [1, 1.5, 2.5, 3.5]


def test_curves_of_nothing_do_not_fail(tmp_path):
    draw_curves(tmp_path / "c.png", base_loss=[], cold_loss=[], rl={}, held_out=[], title="empty")
