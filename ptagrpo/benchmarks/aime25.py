"""AIME 2025: the 30 problems of both papers, integer answers from 0 to 999 (problems © MAA)."""

from .base import BenchmarkSpec, aime_answer

SPEC = BenchmarkSpec(
    name="aime25",
    title="AIME 2025",
    file="maths/aime25.jsonl",
    hub_id="math-ai/aime25",
    hub_split="test",
    rows=30,
    answer=aime_answer,
    licence="problems © MAA",
)
