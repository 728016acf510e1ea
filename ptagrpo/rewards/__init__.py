"""Rewards: one small file each, and how they add up.

`outcome` (Eq. 3), `plan` (Eq. 2), `structure` (Eq. 6), `length` (Eqs. 7, 8), `overlong` (DAPO), `compose`
(Eq. 4) are the built-in parts; `functions` calls a user's reward functions; `score` puts it all together.
Reward functions that a user can name (`accuracy_reward`, `think_format_reward`, ...: `names()`) are files of that
name, and can be imported from here under TRL's names. `verl.from_verl` adapts verl's scorers.
"""

import importlib

from .functions import RewardFunction, load, names
from .score import RewardStats, score_groups
from .settings import RewardSettings
from .verl import from_verl

# Importing a submodule binds its name to the module; users expect the function of that name, as in trl.rewards.
globals().update({name: getattr(importlib.import_module(f".{name}", __name__), name) for name in names()})

__all__ = [
    "RewardFunction", "RewardSettings", "RewardStats", "from_verl", "load", "names", "score_groups", *names(),
]  # fmt: skip
