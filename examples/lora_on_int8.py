"""The cold start (SFT) of an adapter on weights frozen in int8, which take a quarter of float32's memory.

    python examples/lora_on_int8.py MODEL RECORDS.jsonl OUTPUT

rows {"prompt", "completion"}, or {"question", "plan", "think", "answer"}
"""

import sys

import ptagrpo

model, data, output = sys.argv[1:4]
policy = ptagrpo.load(model, quantization="int8")       # "int4": an eighth; None and dtype="bfloat16": no rounding
trainer = ptagrpo.SFTTrainer(
    model=policy,
    args=ptagrpo.SFTConfig(output_dir=output, num_train_epochs=1, per_device_train_batch_size=8, learning_rate=3e-3,
                           prompt_style="raw", logging_steps=1, disable_tqdm=True),
    train_dataset=data,
    peft_config=ptagrpo.LoraConfig(r=8, lora_alpha=16, target_modules="all-linear"),
)  # fmt: skip
trainer.train()
trainer.save_model(output)                              # adapter_model.safetensors: PEFT reads it
losses = [row["loss"] for row in trainer.state.log_history if "loss" in row]
print(f"{policy.num_parameters:,} numbers trained; loss {losses[0]:.3f} -> {losses[-1]:.3f}")
