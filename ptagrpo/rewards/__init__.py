"""Rewards: one small file each, and how they add up.

`outcome` (Eq. 3), `plan` (Eq. 2), `structure` (Eq. 6), `length` (Eqs. 7, 8), `overlong` (DAPO), `compose`
(Eq. 4) are the built-in parts; `functions` calls a user's reward functions; `score` puts it all together.
Reward functions that a user can name (`accuracy_reward`, `think_format_reward`,
`get_soft_overlong_punishment`) are files of that name.
"""

from .functions import RewardFunction, load, names
from .score import RewardStats, score_groups
from .settings import RewardSettings

__all__ = ["RewardFunction", "RewardSettings", "RewardStats", "load", "names", "score_groups"]
