"""What a benchmark is: where its rows come from, what a good row looks like, how a model is asked and graded.

A benchmark is one file with a `SPEC`; `docs/extending.md` writes one step by step.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from ..answers import Judge, Verdict, normalize_answer
from ..records import Messages, Question

INSTRUCTION = "Please reason step by step, and put your final answer within \\boxed{}."
Row: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True)
class Parsed:
    """What a benchmark makes of a row. prompt: the question with its options, without any instruction. answer: the
    reference answer. extra: further columns for prompts and grading (`choices`: letter to text). id: where the spec's
    `id_columns` are not enough."""

    prompt: str
    answer: str
    extra: dict[str, Any] = field(default_factory=dict)
    id: str | None = None


@dataclass(frozen=True)
class Part:
    """One hub configuration of a benchmark. file: its rows below the data folder, where it has a file of its own."""

    config: str | None
    split: str
    file: str = ""


@dataclass(frozen=True)
class BenchmarkSpec:
    """One benchmark, as its file describes it. Only the first seven are needed.

    name: as users write it. title: as people read it. file: below the data folder (variable PTAGRPO_DATA).
    hub_id, hub_split: where `datasets` finds it. rows: how many there must be (None: any number).
    answer: from the raw value to the reference answer; raises ValueError.
    id_columns, prompt_columns, answer_columns: the first one that a row has counts.
    group_columns: worth a table of their own in a report.
    balance: a column; the score is the mean over its values instead of the mean over questions.
    parse: from a row to a `Parsed`, where columns alone do not say it; raises ValueError.
    official_prompt: the published prompt of a question (without: step-by-step and `\\boxed{}`).
    grade: the verdict on a response (without: the judge of mathematics).
    official: as `grade`, by the published parser; its guesses come from the generator (without: as `grade`).
    parts: hub configurations, where there are several. where: column to the value that a row must have; others are
    other benchmarks' rows and passed over. image_columns: columns of images, in the order of `<image n>`.
    repeats: whether the text may mention an image twice.
    licence, table: for people; results of one table stand side by side.
    """

    name: str
    title: str
    file: str
    hub_id: str
    hub_split: str
    rows: int | None
    answer: Callable[[Any], str]
    id_columns: tuple[str, ...] = ("id",)
    prompt_columns: tuple[str, ...] = ("problem", "question")
    answer_columns: tuple[str, ...] = ("answer",)
    group_columns: tuple[str, ...] = ()
    balance: str | None = None
    parse: Callable[[Row], Parsed] | None = None
    official_prompt: Callable[[Question], str | Messages] | None = None
    grade: Callable[[Question, str, Judge], Verdict] | None = None
    official: Callable[[Question, str, random.Random], Verdict] | None = None
    parts: tuple[Part, ...] = ()
    where: Mapping[str, str] = field(default_factory=dict)
    image_columns: tuple[str, ...] = ()
    repeats: bool = False
    licence: str = ""
    table: str = "maths"


@dataclass(frozen=True)
class Benchmark:
    """The questions of a benchmark, checked and with normalised reference answers. notes: what its rows deserve to
    have said about them, without being errors."""

    name: str
    questions: list[Question]
    title: str = ""
    group_columns: tuple[str, ...] = ()
    source: str = ""
    metric: str = "accuracy, mean over the samples of each question"
    kind: str = field(default="math")
    spec: BenchmarkSpec | None = None
    notes: Sequence[str] = ()

    def official_prompt(self, question: Question) -> str | Messages:
        """The question as its benchmark publishes it; without that, in the manner of Qwen2.5-Math's evaluation."""
        if self.spec is not None and self.spec.official_prompt is not None:
            return self.spec.official_prompt(question)
        return official_messages(question.prompt)


def official_messages(prompt: str | Messages) -> Messages:
    """The step-by-step instruction as the system's turn and the question as the user's.

    >>> official_messages("1+1?")[1]
    {'role': 'user', 'content': '1+1?'}
    """
    turns = (
        [{"role": "user", "content": prompt}] if isinstance(prompt, str) else [dict(turn) for turn in prompt]
    )
    if turns and turns[0].get("role") == "system":
        turns[0]["content"] = f"{turns[0]['content']}\n{INSTRUCTION}"
        return turns
    return [{"role": "system", "content": INSTRUCTION}, *turns]


def text_answer(value: Any) -> str:
    """A reference answer that is any mathematics, or a number: as written."""
    if isinstance(value, str) and value.strip():
        return value.strip()
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return number_answer(value)
    raise ValueError(f"expected an answer as text or a number, got {value!r:.80}")


def number_answer(value: Any) -> str:
    """A reference answer that is a number: 27.0 gives "27".

    >>> number_answer(27.0), number_answer("-0.50")
    ('27', '-1/2')
    """
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"expected a finite number, got {value}")
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ValueError(f"expected a number, got {value!r:.80}")
    text = normalize_answer(repr(value) if isinstance(value, float) else str(value))
    if not text.lstrip("-").replace("/", "", 1).isdigit():
        raise ValueError(f"expected a number, got {value!r:.80}")
    return text


def aime_answer(value: Any) -> str:
    """A reference answer of AIME, an integer from 0 to 999, without the leading zeros of its file.

    >>> aime_answer("033")
    '33'
    """
    text = number_answer(value)
    if "/" in text or not 0 <= int(text) <= 999:
        raise ValueError(f"expected an integer from 0 to 999, got {value!r:.80}")
    return text
