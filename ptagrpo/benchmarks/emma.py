"""EMMA: 2,788 questions that need reasoning in the image, of chemistry, coding, mathematics and physics, choice or open
(Hao et al. 2025; luckychao/EMMA; the mathematics are partly of MATH-Vision, MIT)."""

from .base import BenchmarkSpec, Parsed, Part, Row, text_answer
from .support.options import letter_answer, option_lines, required_text, row_options
from .support.verdicts import grade_choice_or_open, official_boxed

CHOICE = "Answer with the option's letter from the given choices and put the letter in one \\boxed{}."
OPEN = "Answer the question using a single word or phrase and put the answer in one \\boxed{}."
STEPS = "Please solve the problem step by step."


def _parse(row: Row) -> Parsed:
    choices = row_options(row)
    parts = [str(row.get("context") or "").strip(), required_text(row, "question")]
    answer = letter_answer(row.get("answer"), choices) if choices else text_answer(row.get("answer"))
    if choices:
        parts.append(option_lines(choices, "{}: {}"))
    return Parsed("\n\n".join(filter(None, parts)), answer, {"choices": choices, "part": _part(row)})


def _part(row: Row) -> str:
    """From the hub's configuration, else from the id `Math_14`."""
    return str(row.get("config") or str(row.get("pid") or row.get("emma_pid") or "").rpartition("_")[0])


def _official_prompt(question) -> str:
    return f"{question.prompt}\n\n{CHOICE if question.columns['choices'] else OPEN} {STEPS}"


SPEC = BenchmarkSpec(
    name="emma",
    title="EMMA",
    file="multimodal/emma/test.jsonl",
    hub_id="luckychao/EMMA",
    hub_split="test",
    rows=2788,
    answer=text_answer,
    parse=_parse,
    official_prompt=_official_prompt,
    grade=grade_choice_or_open,
    official=official_boxed,
    id_columns=("pid", "emma_pid"),
    parts=tuple(Part(subject, "test") for subject in ("Chemistry", "Coding", "Math", "Physics")),
    image_columns=("image", *(f"image_{n}" for n in range(1, 6))),
    group_columns=("part",),
    licence="see the hub (its mathematics: MIT)",
    table="multimodal",
)
