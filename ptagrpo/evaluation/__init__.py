"""Evaluation: sample a policy on benchmarks, or grade responses made elsewhere; honest figures with
intervals."""

from .intervals import Interval, clustered_interval, paired_interval, wilson
from .passk import majority, pass_at_k
from .responses import grade_responses_file
from .result import EvalResult, render, results_table
from .runner import evaluate, make_prompt, run_eval

__all__ = [
    "EvalResult",
    "Interval",
    "clustered_interval",
    "evaluate",
    "grade_responses_file",
    "majority",
    "make_prompt",
    "paired_interval",
    "pass_at_k",
    "render",
    "results_table",
    "run_eval",
    "wilson",
]
