"""Answers: find the one that a response states, and judge it against the reference answer.

`docs/grading.md` lists the rules, and every known disagreement with other graders.
"""

from .extract import extract_answer
from .judge import STATUSES, Judge, Verdict
from .normalize import normalize_answer

__all__ = ["STATUSES", "Judge", "Verdict", "extract_answer", "normalize_answer"]
