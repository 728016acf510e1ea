"""MMMU, validation: 900 questions of 30 subjects with up to seven images, choice or open (Yue et al. 2023; MMMU/MMMU,
Apache-2.0)."""

from .base import BenchmarkSpec, Parsed, Part, Row, text_answer
from .support.options import letter_answer, option_lines, parse_options, row_options
from .support.verdicts import grade_choice_or_open, official_mmmu

SUBJECTS = (
    "Accounting", "Agriculture", "Architecture_and_Engineering", "Art", "Art_Theory", "Basic_Medical_Science",
    "Biology", "Chemistry", "Clinical_Medicine", "Computer_Science", "Design",
    "Diagnostics_and_Laboratory_Medicine", "Economics", "Electronics", "Energy_and_Power", "Finance", "Geography",
    "History", "Literature", "Manage", "Marketing", "Materials", "Math", "Mechanical_Engineering", "Music", "Pharmacy",
    "Physics", "Psychology", "Public_Health", "Sociology",
)  # fmt: skip
CHOICE = "Answer with the option's letter from the given choices directly."
OPEN = "Answer the question using a single word or phrase."


def _parse(row: Row) -> Parsed:
    choices = row_options(row)
    question = str(row.get("question") or "")
    if choices:
        answer = letter_answer(row.get("answer"), choices)
        prompt = f"{question}\n{option_lines(choices, '({}) {}')}"
        return Parsed(prompt, answer, {"choices": choices, "subject": _subject(row)})
    answer = row.get("answer")
    if isinstance(answer, str) and answer.startswith("[") and answer.endswith("]"):
        answer = parse_options(answer)
    golds = [text_answer(gold) for gold in (answer if isinstance(answer, list) and answer else [answer])]
    return Parsed(question, golds[0], {"choices": {}, "golds": golds, "subject": _subject(row)})


def _subject(row: Row) -> str:
    """From the hub's configuration, else from the id `validation_Art_1`."""
    return str(row.get("config") or str(row.get("id", "")).partition("_")[2].rpartition("_")[0])


def _official_prompt(question) -> str:
    instruction = CHOICE if question.columns["choices"] else OPEN
    return f"{question.prompt}\n\n{instruction}"


SPEC = BenchmarkSpec(
    name="mmmu",
    title="MMMU",
    file="multimodal/mmmu/validation.jsonl",
    hub_id="MMMU/MMMU",
    hub_split="validation",
    rows=900,
    answer=text_answer,
    parse=_parse,
    official_prompt=_official_prompt,
    grade=grade_choice_or_open,
    official=official_mmmu,
    parts=tuple(Part(subject, "validation") for subject in SUBJECTS),
    image_columns=tuple(f"image_{n}" for n in range(1, 8)),
    repeats=True,
    group_columns=("subject",),
    licence="Apache-2.0",
    table="multimodal",
)
