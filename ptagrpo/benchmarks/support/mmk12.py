"""MMK12's test set by subject: 500 questions each with one image, the options inside the question (Meng et al. 2025;
FanqingM/MMK12, Apache-2.0)."""

from ..base import BenchmarkSpec, Parsed, Row, text_answer
from .options import letter_answer, lettered, options_in_text, required_text, row_options
from .verdicts import grade_choice, official_boxed_or_tagged

FALLBACK = lettered(["", "", "", ""])


def _parse(row: Row) -> Parsed:
    question = required_text(row, "question")
    choices = row_options(row) or options_in_text(question)
    if len(choices) < 2:  # the options stand in the image
        choices = FALLBACK
    answer = row["answer"] if row.get("answer") is not None else row.get("gold")
    return Parsed(question, letter_answer(answer, choices), {"choices": choices})


def _official_prompt(question) -> str:
    return question.prompt


def spec(subject: str) -> BenchmarkSpec:
    """The benchmark of one subject, as "physics"."""
    return BenchmarkSpec(
        name=f"mmk12_{subject}",
        title=f"MMK12-{subject}",
        file="multimodal/mmk12/test.jsonl",
        hub_id="FanqingM/MMK12",
        hub_split="test",
        rows=500,
        answer=text_answer,
        parse=_parse,
        official_prompt=_official_prompt,
        grade=grade_choice,
        official=official_boxed_or_tagged,
        answer_columns=("answer", "gold"),
        where={"subject": subject},
        image_columns=("image",),
        licence="Apache-2.0",
        table="multimodal",
    )
