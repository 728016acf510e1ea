"""PTA-GRPO: train language models to reason by planning first, on a CPU.

    import ptagrpo
    policy = ptagrpo.load("path or hub id")
    trainer = ptagrpo.PTAGRPOTrainer(model=policy, args=ptagrpo.PTAGRPOConfig(...), train_dataset=[...])

Everything is loaded at first use, so that `import ptagrpo` is quick.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the same names, for type checkers and editors
    from ._core import build_info as build_info
    from ._core import get_num_threads as get_num_threads
    from ._core import set_num_threads as set_num_threads
    from .errors import PtagrpoError as PtagrpoError
    from .evaluation import evaluate as evaluate
    from .evaluation import grade_responses_file as grade_responses_file
    from .lora import LoraConfig as LoraConfig
    from .plan_tree import PlanTree as PlanTree
    from .policy import Policy as Policy
    from .policy import load as load
    from .rewards import from_verl as from_verl
    from .training import EarlyStoppingCallback as EarlyStoppingCallback
    from .training import GRPOConfig as GRPOConfig
    from .training import GRPOTrainer as GRPOTrainer
    from .training import PTAGRPOConfig as PTAGRPOConfig
    from .training import PTAGRPOTrainer as PTAGRPOTrainer
    from .training import SFTConfig as SFTConfig
    from .training import SFTTrainer as SFTTrainer
    from .training import TrainerCallback as TrainerCallback
    from .viewer import load_trees as load_trees

# name -> (module, attribute)
_EXPORTS = {
    "load": ("policy", "load"),
    "Policy": ("policy", "Policy"),
    "LoraConfig": ("lora", "LoraConfig"),
    "SFTConfig": ("training", "SFTConfig"),
    "GRPOConfig": ("training", "GRPOConfig"),
    "PTAGRPOConfig": ("training", "PTAGRPOConfig"),
    "SFTTrainer": ("training", "SFTTrainer"),
    "GRPOTrainer": ("training", "GRPOTrainer"),
    "PTAGRPOTrainer": ("training", "PTAGRPOTrainer"),
    "TrainerCallback": ("training", "TrainerCallback"),
    "EarlyStoppingCallback": ("training", "EarlyStoppingCallback"),
    "from_verl": ("rewards", "from_verl"),
    "evaluate": ("evaluation", "evaluate"),
    "grade_responses_file": ("evaluation", "grade_responses_file"),
    "PlanTree": ("plan_tree", "PlanTree"),
    "load_trees": ("viewer", "load_trees"),
    "build_info": ("_core", "build_info"),
    "set_num_threads": ("_core", "set_num_threads"),
    "get_num_threads": ("_core", "get_num_threads"),
    "PtagrpoError": ("errors", "PtagrpoError"),
}

__all__ = sorted(_EXPORTS)


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return importlib.import_module("._core", __name__).build_info()["version"]
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _EXPORTS[name]
    value = getattr(importlib.import_module(f".{module}", __name__), attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_EXPORTS, "__version__"})
