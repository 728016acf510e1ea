"""Policies, data and trainers small enough to train hundreds of times in the tests."""

from __future__ import annotations

import hashlib
from pathlib import Path

from conftest import make_word_tokenizer

from ptagrpo.policy import Policy
from ptagrpo.training import (
    GRPOConfig,
    GRPOTrainer,
    PTAGRPOConfig,
    PTAGRPOTrainer,
    SFTConfig,
    SFTTrainer,
)

STEPS = 40
SFT_ROWS = [
    {
        "prompt": f"what is {a % 10} + {b} ?",
        "completion": f"<plan> add </plan> <think> {a % 10} + {b} = {(a + b) % 10} </think> "
        f"<answer> {(a + b) % 10} </answer>",
    }
    for a in range(11)
    for b in range(2)
]
QUESTIONS = [
    {"prompt": f"what is {a} + {b} ?", "answer": str((a + b) % 10), "a": a}
    for a in range(5)
    for b in range(4)
]


def policy(seed: int = 0, **changes) -> Policy:
    """A random word-level model of a few thousand parameters."""
    tokenizer = make_word_tokenizer()
    config = {
        "model_type": "llama",
        "vocab_size": tokenizer.vocab_size,
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 8,
        "rms_norm_eps": 1e-6,
        "rope_theta": 10000.0,
        "max_position_embeddings": 256,
        "tie_word_embeddings": True,
        "initializer_range": 0.3,
    }
    return Policy.from_config({**config, **changes}, tokenizer, seed=seed)


def short(completions, **kwargs):
    """A reward function: short responses."""
    return [1.0 - len(completion.split()) / 20.0 for completion in completions]


def trainer(kind: str, folder, base: Policy, callbacks=(), **options):
    """A trainer of 40 steps. Every step has several micro-batches; the RL ones use each rollout for
    several steps.
    """
    common = {
        "output_dir": str(folder), "max_steps": STEPS, "save_steps": 7, "save_total_limit": 2,
        "logging_steps": 3,
        "learning_rate": 5e-3, "lr_scheduler_type": "cosine", "lr_scheduler_kwargs": {"min_lr_rate": 0.1},
        "disable_tqdm": True,
    }  # fmt: skip
    if kind == "sft":
        args = SFTConfig(
            **{**common, "per_device_train_batch_size": 3, "gradient_accumulation_steps": 2, **options}
        )
        return SFTTrainer(base.clone(), args, SFT_ROWS, callbacks=callbacks)
    rl = {**common, "per_device_train_batch_size": 8, "max_completion_length": 8, "prompt_style": "raw",
          "answer_kind": "exact", "max_tokens_per_micro_batch": 8}  # fmt: skip
    if kind == "grpo":
        args = GRPOConfig(
            **{**rl, "num_generations": 4, "num_iterations": 2, "steps_per_generation": 2, **options}
        )
        return GRPOTrainer(base.clone(), [short], args, QUESTIONS, callbacks=callbacks)
    args = PTAGRPOConfig(
        **{**rl, "num_plans": 2, "cots_per_plan": 2, "steps_per_generation": 3, "beta": 0.05, **options}
    )
    return PTAGRPOTrainer(base.clone(), [short], args, QUESTIONS, callbacks=callbacks)


def result(folder, step: int = STEPS) -> dict[str, str]:
    """Digests of what must be equal, byte for byte: final weights, moments, and metrics."""
    folder = Path(folder)
    files = [folder / f"checkpoint-{step}" / name for name in ("model.safetensors", "optimizer.safetensors")]
    return {f.name: hashlib.sha256(f.read_bytes()).hexdigest() for f in [*files, folder / "metrics.jsonl"]}
