"""MATH500: 500 problems of the MATH test set, answers in LaTeX (Lightman et al. 2023;
HuggingFaceH4/MATH-500, MIT)."""

from .base import BenchmarkSpec, text_answer

SPEC = BenchmarkSpec(
    name="math500",
    title="MATH500",
    file="maths/math500.jsonl",
    hub_id="HuggingFaceH4/MATH-500",
    hub_split="test",
    rows=500,
    answer=text_answer,
    id_columns=("unique_id", "id"),
    group_columns=("subject", "level"),
    licence="MIT",
)
