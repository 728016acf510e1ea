"""PTA-GRPO: train language models to reason by planning first, on a CPU.

    import ptagrpo
    policy = ptagrpo.load("path or hub id")
    trainer = ptagrpo.PTAGRPOTrainer(model=policy, args=ptagrpo.PTAGRPOConfig(...), train_dataset=[...])

Everything is loaded at first use, so that `import ptagrpo` is quick.
"""

from __future__ import annotations

import importlib
from typing import Any

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
