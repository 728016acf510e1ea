"""PTA-GRPO on your own questions with a reward of your own beside the answer's.

    python examples/own_reward.py MODEL TRAIN.jsonl OUTPUT      rows {"question", "answer"}
"""

import sys

from ptagrpo import PTAGRPOConfig, PTAGRPOTrainer

model, data, output = sys.argv[1:4]


def short_plan(plans, **kwargs):
    """0.1 for a plan of at most 12 words; None (does not apply) where no plan was closed.

    A reward function gets lists with one entry per response and returns one number, or None, for each. Besides `plans`
    it may ask for completions, prompts, plan_index, cot_index, group_id and any column of the data.
    """
    return [None if plan is None else 0.1 * (len(plan.split()) <= 12) for plan in plans]


trainer = PTAGRPOTrainer(
    model=model,
    reward_funcs=[short_plan],                # added to the paper's rewards
    args=PTAGRPOConfig(
        output_dir=output,
        num_plans=4, cots_per_plan=3,         # 12 responses to a question
        gradient_accumulation_steps=2,        # two questions a step
        prompt_style="raw",                   # "plan" (for models that follow instructions) asks for plan and answer
        answer_kind="exact",                  # "math" compares mathematics
        max_plan_length=24, max_completion_length=96,
        learning_rate=1e-4, max_steps=5, logging_steps=1, save_steps=5,
        disable_tqdm=True,
    ),
    train_dataset=data,
)  # fmt: skip
result = trainer.train(resume_from_checkpoint="auto")   # killed? The same command goes on
trainer.save_model(output)
print(f"{result.global_step} steps; reward {trainer.state.log_history[-1]['reward']:.3f}; model in {output}")
