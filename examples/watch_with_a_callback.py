"""A callback that watches a run: it prints one line a step, and ends the run when the policy stops exploring.

    python examples/watch_with_a_callback.py MODEL TRAIN.jsonl OUTPUT      rows {"question", "answer"}
"""

import sys

from ptagrpo import PTAGRPOConfig, PTAGRPOTrainer, TrainerCallback

model, data, output = sys.argv[1:4]


class Watch(TrainerCallback):
    def __init__(self, least_entropy):
        self.least_entropy = least_entropy

    def on_log(self, args, state, control, logs=None, **kwargs):
        if "reward" in logs:
            print(f"step {state.global_step}: reward {logs['reward']:.3f}, entropy {logs['entropy']:.2f} nats")
            if logs["entropy"] < self.least_entropy:
                control.should_training_stop = True

    def on_train_end(self, args, state, control, **kwargs):
        print(f"ended after {state.global_step} of {state.max_steps} steps")


PTAGRPOTrainer(
    model=model,
    args=PTAGRPOConfig(output_dir=output, num_plans=3, cots_per_plan=2, prompt_style="raw", answer_kind="exact",
                       max_plan_length=24, max_completion_length=96, max_steps=4, logging_steps=1, disable_tqdm=True),
    train_dataset=data,
    callbacks=[Watch(least_entropy=0.001)],
).train()  # fmt: skip
