"""Training: configurations, the SFT and RL trainers, and the store that never loses a run."""

from .config import GRPOConfig, PTAGRPOConfig, SFTConfig

__all__ = ["GRPOConfig", "PTAGRPOConfig", "SFTConfig"]
