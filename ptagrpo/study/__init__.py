"""Studies: methods, values and parts compared with equal budgets, several seeds, intervals and tests.

from ptagrpo.study import StudySpec, compare, run_study
spec = StudySpec.from_yaml("configs/study/demo.yaml")
run_study(spec, *compare(spec, ["pta_grpo", "grpo"]), title="PTA-GRPO and GRPO")
"""

from __future__ import annotations

from .analysis import analyse
from .run import make_task, run_study
from .spec import StudySpec, Variant
from .variants import ablate, compare, sweep

__all__ = ["StudySpec", "Variant", "ablate", "analyse", "compare", "make_task", "run_study", "sweep"]
