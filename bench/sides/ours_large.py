"""This package's PTAGRPOTrainer on a model of random weights, made in place, with LoRA on frozen weights."""

from __future__ import annotations

import io
import json
import os
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

import ptagrpo
from bench.compare import peak_bytes
from bench.models import IMAGE_SIDE, IMAGE_TOKENS, write_tokenizer
from bench.sides.ours_grpo import random_question, uneven
from ptagrpo.tokenizer import Tokenizer

SEED = 1  # with 0 a draw of a random model meets the end of text, which ends a plan early
IMPORTED_BYTES = peak_bytes(os.getpid())


def picture() -> bytes:
    """A PNG of IMAGE_SIDE² random pixels."""
    from PIL import Image

    values = np.random.default_rng(5).integers(0, 256, (IMAGE_SIDE, IMAGE_SIDE, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, "PNG")
    return buffer.getvalue()


class Side:
    """A policy of a configuration.

    Args:
        config: dict of a config.json. quantization: of its frozen weights. limit: bytes of address space that the
            process may have from now on, so that it fails where it would take more.
    """

    def __init__(self, config: dict[str, Any], quantization: str, limit: int):
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        self._limit = limit
        with tempfile.TemporaryDirectory(prefix="ptagrpo-bench-") as folder:
            self._sees = "vision_config" in config
            write_tokenizer(Path(folder), config["vocab_size"], self._sees)
            tokenizer = Tokenizer.from_folder(folder)
        start = time.perf_counter()
        self._policy = ptagrpo.Policy.from_config(
            config, tokenizer, dtype="bfloat16", quantization=quantization
        )
        self._seconds = time.perf_counter() - start

    def steps(
        self, count: int, plans: int, chains: int, prompt: int, plan: int, chain: int, rank: int
    ) -> dict[str, Any]:
        """`count` steps on one question, with an image of IMAGE_TOKENS tokens where the model sees: sample, reward,
        forward, backward, AdamW on an adapter of all projections.

        Returns:
            prompt: its tokens. tokens: sampled in each step, a plan's once. rollout, update: seconds of each. build:
            seconds in which the weights were made. peak, imported: bytes of this process, largest so far, and after its
            imports. loss, grad_norm: of each step.
        """
        with tempfile.TemporaryDirectory(prefix="ptagrpo-bench-") as folder:
            args = ptagrpo.PTAGRPOConfig(
                output_dir=folder, max_steps=count, logging_steps=1, num_plans=plans, cots_per_plan=chains,
                max_plan_length=plan, max_completion_length=plan + chain, save_strategy="no", disable_tqdm=True,
                prompt_style="raw", max_memory=str(self._limit), seed=SEED,
            )  # fmt: skip
            row = {"prompt": random_question(prompt), "answer": "1"}
            if self._sees:
                row = {
                    "prompt": f"<image 1>{random_question(prompt - IMAGE_TOKENS)}",
                    "answer": "1",
                    "images": [picture()],
                }
            trainer = ptagrpo.PTAGRPOTrainer(
                self._policy, uneven, args, [row],
                peft_config=ptagrpo.LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear"),
            )  # fmt: skip
            trainer.train()
            lines = (Path(folder) / "timings.jsonl").read_text().splitlines()
        timings = [row for row in map(json.loads, lines) if "step_time" in row]
        logged = [row for row in trainer.state.log_history if "grad_norm" in row]
        rest = [row["step_time"] - row["time_sampling"] - row["time_reward"] for row in timings]
        return {
            "prompt": trainer._sampler.longest_prompt(),
            "tokens": [row["sampling/tokens"] for row in logged], "rollout": [row["time_sampling"] for row in timings],
            "update": rest, "build": self._seconds, "peak": peak_bytes(os.getpid()), "imported": IMPORTED_BYTES,
            "loss": [row["loss"] for row in logged], "grad_norm": [row["grad_norm"] for row in logged],
        }  # fmt: skip

    def versions(self) -> dict[str, Any]:
        return dict(ptagrpo.build_info())
