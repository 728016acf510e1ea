"""Statistics for comparing methods: NumPy and the standard library, nothing of ours.

Questions are drawn at random and so are seeds; samples of one question are not independent of each other.
Everything here takes values of questions (already averaged over their samples), with seeds as a second level.
"""

from __future__ import annotations

from .bootstrap import Estimate, two_level_bootstrap
from .multiple import holm
from .paired import mcnemar, sign_flip
from .power import detectable_difference, detectable_share

__all__ = [
    "Estimate",
    "detectable_difference",
    "detectable_share",
    "holm",
    "mcnemar",
    "sign_flip",
    "two_level_bootstrap",
]
