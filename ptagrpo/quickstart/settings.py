"""The quickstart's numbers in one place: the model, and the configuration of each of its stages.

They are ordinary `SFTConfig`, `PTAGRPOConfig` and `GRPOConfig`: nothing here that a user's own run could not
set. `docs/quickstart.md` tells how they were found and what they give over five seeds.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..data.chains import EOS_TOKEN, PAD_TOKEN, vocabulary
from ..training import GRPOConfig, PTAGRPOConfig, SFTConfig

MODEL: dict[str, Any] = {
    "model_type": "llama",
    "vocab_size": len(vocabulary()),
    "hidden_size": 64,
    "intermediate_size": 192,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "head_dim": 16,
    "rms_norm_eps": 1e-6,
    "rope_theta": 10000.0,
    "max_position_embeddings": 256,
    "tie_word_embeddings": False,
    "initializer_range": 0.07,
    "eos_token_id": vocabulary().index(EOS_TOKEN),
    "pad_token_id": vocabulary().index(PAD_TOKEN),
}
MAX_COMPLETION = 80  # the longest right response has 60 tokens
MAX_PLAN = 16


@dataclass(frozen=True)
class QuickstartSettings:
    """How much of everything.

    base_steps: optimizer steps of the base, 8 records each. base_rounds, round_steps: further rounds of
        training, and their steps, while the base's reasoning under a right plan is right less often than
        `good_enough`. polish_from: from this share on, a further round polishes (see `base`).
    cold_steps: optimizer steps of the cold start, 16 records each.
    rollouts: RL rollouts of `questions_per_rollout` questions x 12 responses, two optimizer steps each.
    held_out: test questions. checks: training questions of the base's check. trees: test questions on the
        page.
    """

    base_steps: int = 2400
    base_rounds: int = 4
    round_steps: int = 1200
    good_enough: float = 0.85
    polish_from: float = 0.5
    cold_steps: int = 150
    rollouts: int = 30
    questions_per_rollout: int = 16
    num_plans: int = 4
    cots_per_plan: int = 3
    held_out: int = 1000
    checks: int = 400
    trees: int = 8

    @classmethod
    def quick(cls) -> QuickstartSettings:
        """A smoke test of seconds: every step and every file, no claim to any result."""
        return cls(
            base_steps=30,
            base_rounds=1,
            round_steps=10,
            cold_steps=5,
            rollouts=3,
            questions_per_rollout=4,
            held_out=24,
            checks=12,
            trees=4,
        )

    def base(
        self, folder: Path, seed: int, round_number: int, *, polish: bool = False, progress: bool = True
    ) -> SFTConfig:
        """Supervised training on clean records; round 0 is the base itself, 1, 2, ... are its further rounds.

        polish: a round for a base that can look names up and still makes mistakes: a small learning rate
        takes them away, where the large one that finds the skill keeps making new ones.
        """
        steps = self.round_steps if round_number else self.base_steps
        return SFTConfig(
            output_dir=folder,
            run_name="base" if not round_number else f"base, round {round_number + 1}",
            seed=seed,
            max_steps=steps,
            per_device_train_batch_size=8,
            learning_rate=2e-3 if polish else 8e-3,
            lr_scheduler_type="linear",
            lr_scheduler_kwargs={"min_lr_rate": 0.02 if polish else 0.1},
            warmup_steps=min(50, steps // 2),
            adam_beta2=0.98,
            weight_decay=0.05,
            prompt_style="raw",
            max_length=None,
            logging_steps=10,
            save_steps=600,
            save_total_limit=1,
            disable_tqdm=not progress,
        )

    def cold_start(self, folder: Path, seed: int, *, progress: bool = True) -> SFTConfig:
        """Supervised training on the records of the teacher that tires."""
        return SFTConfig(
            output_dir=folder,
            run_name="cold start",
            seed=seed,
            max_steps=self.cold_steps,
            per_device_train_batch_size=16,
            learning_rate=2e-3,
            lr_scheduler_type="linear",
            lr_scheduler_kwargs={"min_lr_rate": 0.1},
            warmup_steps=min(10, self.cold_steps // 2),
            adam_beta2=0.98,
            weight_decay=0.05,
            prompt_style="raw",
            max_length=None,
            logging_steps=5,
            save_steps=150,
            save_total_limit=1,
            disable_tqdm=not progress,
        )

    def _rl(self, folder: Path, name: str, seed: int, progress: bool) -> dict[str, Any]:
        responses = self.questions_per_rollout * self.num_plans * self.cots_per_plan
        return dict(
            output_dir=folder,
            run_name=name,
            seed=seed,
            max_steps=2 * self.rollouts,
            per_device_train_batch_size=responses // 2,
            steps_per_generation=2,
            learning_rate=1e-3,
            lr_scheduler_type="linear",
            lr_scheduler_kwargs={"min_lr_rate": 0.1},
            adam_beta2=0.95,
            weight_decay=0.0,
            temperature=1.0,
            max_completion_length=MAX_COMPLETION,
            loss_type="dapo",
            epsilon=0.2,
            beta=0.0,
            outcome_reward=1.0,
            structure_reward=0.2,
            length_reward_weight=0.0,
            reward_weights=[0.0],
            answer_kind="exact",
            prompt_style="raw",
            logging_steps=1,
            save_steps=20,
            save_total_limit=1,
            log_completions=True,
            num_completions_to_print=0,
            disable_tqdm=not progress,
        )

    def pta_grpo(self, folder: Path, seed: int, *, progress: bool = True) -> PTAGRPOConfig:
        """PTA-GRPO: plan trees, and the plan reward of Eq. 2 with the paper's weight."""
        return PTAGRPOConfig(
            num_plans=self.num_plans,
            cots_per_plan=self.cots_per_plan,
            max_plan_length=MAX_PLAN,
            plan_reward_weight=0.5,
            plan_temperature=0.3,
            **self._rl(folder, "PTA-GRPO", seed, progress),
        )

    def grpo(self, folder: Path, seed: int, *, progress: bool = True) -> GRPOConfig:
        """GRPO with the same rollout budget, seeds and everything else; no tree and no plan reward."""
        return GRPOConfig(
            num_generations=self.num_plans * self.cots_per_plan,
            plan_reward_weight=0.0,
            **self._rl(folder, "GRPO", seed, progress),
        )
