"""Exceptions that speak to the user: what, where, the value, the limit, what to do.

Every exception that the package raises on purpose derives from `PtagrpoError` and from the built-in exception that a
Python user would expect to catch (`ValueError`, `OSError`, ...).
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class PtagrpoError(Exception):
    """Base of all errors raised on purpose by ptagrpo."""


class ConfigError(PtagrpoError, ValueError):
    """A setting is unknown, out of range or contradicts another one."""


class DataError(PtagrpoError, ValueError):
    """A data file or a data row is malformed. `file` and `line` (1-based) are set where known."""

    def __init__(self, message: str, *, file: str | None = None, line: int | None = None):
        where = "" if file is None else f"{file}:{line}: " if line is not None else f"{file}: "
        super().__init__(where + message)
        self.file = file
        self.line = line


class CheckpointError(PtagrpoError, OSError):
    """A model folder or a training checkpoint is missing, damaged or does not fit."""


class ResumeError(CheckpointError):
    """A run cannot go on from a checkpoint because data, tokenizer, seed or settings changed."""


class RewardError(PtagrpoError, RuntimeError):
    """A reward function raised, hung, or returned something that is not one number per response."""


class GradingError(PtagrpoError, RuntimeError):
    """The answer-checking worker could not be started or kept alive."""


class TeacherError(PtagrpoError, RuntimeError):
    """The teacher endpoint of plan distillation failed for good (after all retries)."""


def did_you_mean(word: str, options: Iterable[str]) -> str:
    """Return " Did you mean 'x'?" for the option closest to `word`, or "" when nothing is close.

    >>> did_you_mean("learning_rat", ["learning_rate", "seed"])
    " Did you mean 'learning_rate'?"
    >>> did_you_mean("zzz", ["learning_rate", "seed"])
    ''
    """
    close = difflib.get_close_matches(word, list(options), n=1, cutoff=0.6)
    return f" Did you mean '{close[0]}'?" if close else ""
