"""TRL's GRPOTrainer: transformers' generate with its KV cache, SDPA attention, fused AdamW; all in bfloat16."""

from __future__ import annotations

import tempfile
import time
from typing import Any

import torch
import transformers
import trl
from datasets import Dataset

from bench.sides.ours_grpo import random_question, uneven


class Clock(transformers.TrainerCallback):
    """Seconds of the last step, sampling included."""

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        self._start = time.perf_counter()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.seconds = time.perf_counter() - self._start


class Side:
    """A trainer of one question with `responses` responses of exactly `length` tokens."""

    def __init__(self, folder: str, prompt: int, length: int, responses: int):
        self._scratch = tempfile.TemporaryDirectory(prefix="ptagrpo-bench-")
        args = trl.GRPOConfig(
            output_dir=self._scratch.name, max_steps=1, per_device_train_batch_size=responses,
            num_generations=responses, max_completion_length=length, generation_kwargs={"min_new_tokens": length},
            model_init_kwargs={"dtype": torch.bfloat16}, bf16=True, use_cpu=True, gradient_checkpointing=False,
            optim="adamw_torch_fused", weight_decay=0.01, max_grad_norm=0.0, beta=0.0, save_strategy="no",
            report_to="none", logging_steps=1, disable_tqdm=True,
        )  # fmt: skip
        self._clock = Clock()
        rows = Dataset.from_list([{"prompt": random_question(prompt)}] * responses)
        self._trainer = trl.GRPOTrainer(folder, uneven, args, rows, callbacks=[self._clock])

    def step(self) -> dict[str, float]:
        """One step: sample, reward, forward, backward, AdamW. Returns seconds and sampled tokens."""
        self._trainer.train()
        found = [row for row in self._trainer.state.log_history if "completions/mean_length" in row][-1]
        tokens = found["completions/mean_length"] * self._trainer.args.num_generations
        return {"seconds": self._clock.seconds, "tokens": tokens}

    def versions(self) -> dict[str, Any]:
        return {"trl": trl.__version__, "torch": torch.__version__, "transformers": transformers.__version__}
