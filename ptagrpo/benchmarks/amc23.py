"""AMC 2023: 40 problems of AMC 12, number answers, which the file writes as floats (problems © MAA)."""

from .base import BenchmarkSpec, number_answer

SPEC = BenchmarkSpec(
    name="amc23",
    title="AMC 2023",
    file="maths/amc23.jsonl",
    hub_id="math-ai/amc23",
    hub_split="test",
    rows=40,
    answer=number_answer,
    licence="problems © MAA",
)
