"""Evaluation: sample a policy on benchmarks, or grade responses made elsewhere; honest figures with
intervals."""

from .intervals import Interval, clustered_interval, paired_interval, wilson
from .passk import majority, pass_at_k
from .prompts import make_image_prompt, make_prompt
from .responses import grade_responses_file
from .result import EvalResult
from .runner import evaluate, run_eval
from .tables import paper_tables, render, results_table

__all__ = [
    "EvalResult",
    "Interval",
    "clustered_interval",
    "evaluate",
    "grade_responses_file",
    "majority",
    "make_image_prompt",
    "make_prompt",
    "paired_interval",
    "paper_tables",
    "pass_at_k",
    "render",
    "results_table",
    "run_eval",
    "wilson",
]
