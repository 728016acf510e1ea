"""MMMU-Pro: 1,730 questions with up to ten options, and the same as screenshots ("vision"); the score is the mean of
both settings (Yue et al. 2024; MMMU/MMMU_Pro, Apache-2.0)."""

from .base import BenchmarkSpec, Parsed, Part, Row, text_answer
from .support.options import letter_answer, option_lines, row_options
from .support.verdicts import grade_choice, official_mmmu_pro

STANDARD, VISION = "standard", "vision"
LAST_LINE = (
    "The last line of your response should be of the following format: 'Answer: $LETTER' (without quotes) where LETTER "
    "is one of options. Think step by step before answering."
)
ASK_STANDARD = f"Answer the preceding multiple choice question. {LAST_LINE}"
ASK_VISION = f"Write out the multiple-choice question in the image and then solve it. {LAST_LINE}"
ASK_VISION_PLAIN = "Answer the multiple-choice question in the image."


def _parse(row: Row) -> Parsed:
    choices = row_options(row)
    if not choices:
        raise ValueError("expected options, got none")
    answer = letter_answer(row.get("answer"), choices)
    setting = _setting(row)
    identity = None if row.get("id") is None else f"{'vision/' if setting == VISION else ''}{row['id']}"
    extra = {"choices": choices, "setting": setting}
    if setting == VISION:
        return Parsed(ASK_VISION_PLAIN, answer, extra, identity)
    return Parsed(f"{row.get('question') or ''}\n{option_lines(choices, '{}. {}')}", answer, extra, identity)


def _setting(row: Row) -> str:
    """From a column `setting` or the hub's configuration; a row without question text is a screenshot."""
    named = str(row.get("setting") or row.get("config") or "")
    if named:
        return VISION if named.startswith(VISION) else STANDARD
    return STANDARD if row.get("question") or not row.get("image") else VISION


def _official_prompt(question) -> str:
    if question.columns["setting"] == VISION:
        return ASK_VISION
    return f"{question.prompt}\n{ASK_STANDARD}"


SPEC = BenchmarkSpec(
    name="mmmu_pro",
    title="MMMU-Pro",
    file="",
    hub_id="MMMU/MMMU_Pro",
    hub_split="test",
    rows=3460,
    answer=text_answer,
    parse=_parse,
    official_prompt=_official_prompt,
    grade=grade_choice,
    official=official_mmmu_pro,
    parts=(
        Part("standard (10 options)", "test", "multimodal/mmmu_pro/standard.jsonl"),
        Part("vision", "test", "multimodal/mmmu_pro/vision.jsonl"),
    ),
    image_columns=("image", *(f"image_{n}" for n in range(1, 8))),
    repeats=True,
    group_columns=("setting",),
    balance="setting",
    licence="Apache-2.0",
    table="multimodal",
)
