"""AIME 2024: the 30 problems of both papers, integer answers from 0 to 999 (problems © MAA)."""

from .base import BenchmarkSpec, aime_answer

SPEC = BenchmarkSpec(
    name="aime24",
    title="AIME 2024",
    file="maths/aime24.jsonl",
    hub_id="HuggingFaceH4/aime_2024",
    hub_split="train",
    rows=30,
    answer=aime_answer,
    licence="problems © MAA",
)
