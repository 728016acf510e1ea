"""Training: configurations, the SFT and RL trainers, and the store that never loses a run.

    SFTTrainer(model=policy, args=SFTConfig(...), train_dataset=rows).train()
    PTAGRPOTrainer(model=policy, args=PTAGRPOConfig(...),
    train_dataset=questions).train(resume_from_checkpoint="auto")

Everything is loaded at first use: a configuration can be made and checked without the trainers.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the same names, for type checkers and editors
    from .callbacks import EarlyStoppingCallback as EarlyStoppingCallback
    from .callbacks import TrainerCallback as TrainerCallback
    from .callbacks import TrainerControl as TrainerControl
    from .callbacks import TrainerState as TrainerState
    from .config import GRPOConfig as GRPOConfig
    from .config import PTAGRPOConfig as PTAGRPOConfig
    from .config import SFTConfig as SFTConfig
    from .loop import TrainOutput as TrainOutput
    from .rl import GRPOTrainer as GRPOTrainer
    from .rl import PTAGRPOTrainer as PTAGRPOTrainer
    from .sft import SFTTrainer as SFTTrainer

_EXPORTS = {
    "SFTConfig": "config", "GRPOConfig": "config", "PTAGRPOConfig": "config",
    "SFTTrainer": "sft", "GRPOTrainer": "rl", "PTAGRPOTrainer": "rl",
    "EarlyStoppingCallback": "callbacks", "TrainerCallback": "callbacks",
    "TrainerControl": "callbacks", "TrainerState": "callbacks",
    "TrainOutput": "loop",
}  # fmt: skip

__all__ = sorted(_EXPORTS)


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_EXPORTS[name]}", __name__), name)
