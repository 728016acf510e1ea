"""`ptagrpo quickstart`: both stages of PTA-GRPO on the built-in task, from random weights to a report, in
minutes.

from ptagrpo.quickstart import run_quickstart
summary = run_quickstart("quickstart_output", seed=0)
"""

from __future__ import annotations

from .results import HeldOut, Paired, Sample, Share, paired
from .run import Summary, run_quickstart
from .settings import QuickstartSettings

__all__ = [
    "HeldOut",
    "Paired",
    "QuickstartSettings",
    "Sample",
    "Share",
    "Summary",
    "paired",
    "run_quickstart",
]
