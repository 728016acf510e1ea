"""A script of TRL with its import line changed: flat GRPO, TRL's option names and reward functions.

    python examples/grpo_as_in_trl.py MODEL TRAIN.jsonl OUTPUT      rows {"prompt", ...}
"""

import json
import sys

from ptagrpo import GRPOConfig, GRPOTrainer  # from trl import GRPOConfig, GRPOTrainer

model, data, output = sys.argv[1:4]
dataset = [json.loads(line) for line in open(data, encoding="utf-8")]
dataset = [{"prompt": row["question"], "solution": row["answer"]} for row in dataset]


def right_answer(completions, solution, **kwargs):
    return [float(f"<answer> {right} </answer>" in text) for text, right in zip(completions, solution, strict=True)]


def not_too_long(completions, **kwargs):
    return [-0.001 * len(text) for text in completions]


trainer = GRPOTrainer(
    model=model,
    reward_funcs=[right_answer, not_too_long],
    args=GRPOConfig(output_dir=output, num_generations=6, per_device_train_batch_size=6, max_completion_length=64,
                    beta=0.01, learning_rate=1e-4, max_steps=4, logging_steps=1, disable_tqdm=True),
    train_dataset=dataset,
)  # fmt: skip
trainer.train()
trainer.save_model(output)
print(f"reward {trainer.state.log_history[0]['reward']:.3f} -> {trainer.state.log_history[-1]['reward']:.3f}")
