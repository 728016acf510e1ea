"""This package's GRPOTrainer and PTAGRPOTrainer on one question."""

from __future__ import annotations

import string
import tempfile
import time
from typing import Any

import numpy as np

import ptagrpo
from ptagrpo.training.callbacks import TrainerCallback


def random_question(tokens: int) -> str:
    """Text of that many tokens of the tokenizer in bench/models.py."""
    return "".join(np.random.default_rng(4).choice(list(string.ascii_lowercase), tokens))


def uneven(completions: list[str], **_: Any) -> list[float]:
    """A reward that differs within a group, so that no response is left out of the loss."""
    return [float(len(completion)) for completion in completions]


class Clock(TrainerCallback):
    """Seconds of the last step, sampling included."""

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        self._start = time.perf_counter()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.seconds = time.perf_counter() - self._start


class Side:
    """A trainer of one question with `responses` responses of `length` tokens; plan: tokens of a plan that every
    three responses share (a plan tree), 0: flat. A random model ends no response before its limit in practice."""

    def __init__(self, folder: str, prompt: int, length: int, responses: int, plan: int = 0):
        self._scratch = tempfile.TemporaryDirectory(prefix="ptagrpo-bench-")
        common = {
            "output_dir": self._scratch.name, "overwrite_output_dir": True, "max_steps": 1, "logging_steps": 1,
            "max_completion_length": length, "weight_decay": 0.01, "max_grad_norm": 0.0, "save_strategy": "no",
            "disable_tqdm": True, "prompt_style": "raw",
        }  # fmt: skip
        if plan:
            args = ptagrpo.PTAGRPOConfig(
                num_plans=responses // 3, cots_per_plan=3, max_plan_length=plan, **common
            )
        else:
            args = ptagrpo.GRPOConfig(num_generations=responses, **common)
        trainer = ptagrpo.PTAGRPOTrainer if plan else ptagrpo.GRPOTrainer
        self._clock = Clock()
        policy = ptagrpo.load(folder, dtype="bfloat16")
        rows = [{"prompt": random_question(prompt), "answer": "1"}]
        self._make = lambda: trainer(policy, uneven, args, rows, callbacks=[self._clock])

    def step(self) -> dict[str, float]:
        """One step: sample, reward, forward, backward, AdamW. Returns seconds and sampled tokens, a plan's counted for
        each response that has it."""
        trainer = self._make()
        trainer.train()
        metrics = trainer.state.log_history[-1]
        tokens = metrics["completions/mean_length"] * trainer.args.num_generations
        return {"seconds": self._clock.seconds, "tokens": tokens}

    def versions(self) -> dict[str, Any]:
        return dict(ptagrpo.build_info())
