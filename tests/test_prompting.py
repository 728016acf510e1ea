"""Evaluation of untrained prompting: which prompt, which figure, and what it costs in tokens."""

from __future__ import annotations

import json

import pytest

from ptagrpo.cli import main
from ptagrpo.errors import ConfigError
from ptagrpo.evaluation import EvalResult, evaluate, render, results_table
from ptagrpo.io import write_jsonl
from ptagrpo.records import Question
from ptagrpo.template import cot_prompt, plan_prompt


class Completion:
    def __init__(self, text, count):
        self.text, self.token_ids, self.finish_reason = text, [0] * count, "eos"


class Model:
    """Answers 4, 4, 5 in turn, with 3, 3 and 6 tokens, and remembers the prompts."""

    class tokenizer:
        chat_template = None

    def __init__(self):
        self.prompts = []

    def generate(self, prompts, n, **_):
        self.prompts += prompts
        three = [("4", 3), ("4", 3), ("5", 6)]
        return [
            [Completion(f"\\boxed{{{answer}}}", count) for answer, count in (three * n)[:n]] for _ in prompts
        ]


QUESTIONS = [Question("a", "2+2?", "4"), Question("b", "2+3?", "5")]


def run(prompting, k, **options):
    model = Model()
    found = evaluate(model, QUESTIONS, k=k, prompting=prompting, kind="exact", progress=False, **options)
    return model, found


@pytest.mark.parametrize(
    ("prompting", "prompt", "figure", "value"),
    [
        ("cot", cot_prompt, "avg@3", (2 / 3 + 1 / 3) / 2),
        ("plan", plan_prompt, "avg@3", (2 / 3 + 1 / 3) / 2),
        (
            "self_consistency",
            cot_prompt,
            "maj@3",
            0.5,
        ),  # the vote is right for the first, wrong for the second
        (None, plan_prompt, "avg@3", 0.5),
    ],
)
def test_prompt_figure_and_tokens_of_each_mode(prompting, prompt, figure, value):
    model, found = run(prompting, 3)
    assert model.prompts[0].startswith(prompt("2+2?"))
    summary = found.summary()
    assert summary["figure"]["name"] == figure and summary["figure"]["mean"] == pytest.approx(value)
    assert summary["tokens_per_question"] == 12 and summary["mean_tokens"] == 4
    assert summary["settings"]["prompting"] == prompting


def test_the_vote_can_beat_the_mean_and_shows_what_it_costs():
    rows = [
        {"id": "a", "status": status, "extracted": answer, "tokens": 5, "finish_reason": "eos"}
        for status, answer in [("correct", "4"), ("correct", "4"), ("wrong", "5")]
    ]
    found = EvalResult("x", 3, rows, {"prompting": "self_consistency"})
    assert found.figure["mean"] == 1.0 and found.accuracy == pytest.approx(2 / 3)
    text = render(results_table([found]), width=200)
    assert " 5 x 3 " in text


def test_mistakes():
    with pytest.raises(ConfigError, match="votes among k responses: got k = 1"):
        run("self_consistency", 1)
    with pytest.raises(ConfigError, match="Did you mean 'plan'"):
        run("plann", 2)


def test_from_the_command_line(tiny_policy, tmp_path, capsys):
    tiny_policy("llama", seed=3).save(tmp_path / "model")
    write_jsonl(tmp_path / "q.jsonl", [{"id": "a", "question": "1+1?", "answer": "2"}])
    code = main([
        "eval", str(tmp_path / "model"), "--benchmark", str(tmp_path / "q.jsonl"), "--prompting",
        "self_consistency", "--k", "2", "--max_new_tokens", "4", "--output_dir", str(tmp_path / "out"),
        "--no_progress",
    ])  # fmt: skip
    assert code == 0, capsys.readouterr().err
    (summary,) = (tmp_path / "out").glob("*/summary.json")
    found = json.loads(summary.read_text())
    assert found["figure"]["name"] == "maj@2" and found["settings"]["prompt_style"] == "cot"
    assert 2 <= found["tokens_per_question"] <= 8
