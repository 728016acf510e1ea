"""RL on really trained weights: GRPO on stories260K with a reward for a word raises its frequency."""

from __future__ import annotations

import math

import pytest

WORD = "dog"
PROMPT = "Once upon a time"
HELD_OUT = 256
STEPS, LR = 14, 1e-3


def wants_word(completions, **columns):
    """1 for a story with the word in it."""
    return [1.0 if WORD in text.lower() else 0.0 for text in completions]


def frequency(policy, seed):
    """Share of fresh stories with the word, at the temperature of training."""
    [stories] = policy.generate([PROMPT], n=HELD_OUT, max_new_tokens=48, temperature=1.0, seed=seed)
    return sum(wants_word([story.text for story in stories])) / HELD_OUT


def test_grpo_raises_the_frequency_of_a_word(shared_data, tmp_path):
    import ptagrpo
    from ptagrpo.cli import main

    folder = shared_data / "checkpoints" / "stories260K"
    if not (folder / "stories260K.bin").is_file():
        pytest.skip(f"no stories260K.bin in {folder}")
    code = main(
        [
            "convert",
            str(folder / "stories260K.bin"),
            str(tmp_path / "stories"),
            "--tokenizer",
            str(folder / "tok512.bin"),
        ]
    )
    assert code == 0
    policy = ptagrpo.load(tmp_path / "stories")
    before = frequency(policy, seed=1)
    config = ptagrpo.GRPOConfig(
        output_dir=str(tmp_path / "run"),
        num_generations=32,
        per_device_train_batch_size=32,
        max_steps=STEPS,
        learning_rate=LR,
        max_completion_length=48,
        loss_type="grpo",
        beta=0.0,
        logging_steps=1,
        seed=0,
        save_strategy="no",
        disable_tqdm=True,
    )
    trainer = ptagrpo.GRPOTrainer(
        model=policy, reward_funcs=[wants_word], args=config, train_dataset=[{"prompt": PROMPT}]
    )
    trainer.train()
    after = frequency(policy, seed=1)
    spread = math.sqrt((before * (1 - before) + after * (1 - after)) / HELD_OUT)
    assert before < 0.5, "the word must be one that the model does not say anyway"
    assert after - before > max(6 * spread, 0.25)
    assert [row["step"] for row in trainer.state.log_history if "reward" in row] == list(range(1, STEPS + 1))
