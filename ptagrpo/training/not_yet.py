"""Options that TRL and the Hugging Face Trainer have and this package has not: refused by name, never
ignored.

A value that asks for what is done anyway (`bf16=False`, `deepspeed=None`) is accepted, so that scripts
carry over.
"""

from __future__ import annotations

from .options import NotYet

_GPU = "this package computes in float32 or bfloat16 (bf16=True) on the CPU"
_DATA = "rows are read, tokenised and packed in the process itself"
_HUB = "a run is not pushed to the hub; use save_model and upload the folder"

COMMON: dict[str, NotYet] = {
    "fp16": NotYet((False, None), _GPU),
    "tf32": NotYet((False, None), _GPU),
    "use_cpu": NotYet((True,), _GPU),
    "no_cuda": NotYet((True,), _GPU),
    "torch_compile": NotYet((False,), _GPU),
    "gradient_checkpointing_kwargs": NotYet((None,), "gradient_checkpointing is all there is to set"),
    "optim": NotYet(("adamw", "adamw_torch", "adamw_torch_fused"), "AdamW is the only optimizer"),
    "logging_strategy": NotYet(("steps",), "logging goes by steps (logging_steps)"),
    "logging_first_step": NotYet((False,), "set logging_steps=1 to see the first step"),
    "save_only_model": NotYet((False,), "a checkpoint without the optimizer cannot go on; use save_model"),
    "save_safetensors": NotYet((True,), "tensors are only written as safetensors"),
    "load_best_model_at_end": NotYet(
        (False,), "the last model is kept; pick a checkpoint by its eval metrics"
    ),
    "metric_for_best_model": NotYet((None,), "the last model is kept"),
    "eval_on_start": NotYet((False,), "call trainer.evaluate() before trainer.train()"),
    "resume_from_checkpoint": NotYet((None,), "pass it to trainer.train(resume_from_checkpoint=...)"),
    "push_to_hub": NotYet((False,), _HUB),
    "hub_model_id": NotYet((None,), _HUB),
    "group_by_length": NotYet((False,), "batches are packed without padding, there is nothing to gain"),
    "dataloader_num_workers": NotYet((0,), _DATA),
    "dataloader_drop_last": NotYet((False,), "the last, smaller batch of an epoch is used"),
    "dataset_num_proc": NotYet((None, 1), _DATA),
    "data_seed": NotYet((None,), "the data order follows seed"),
    "full_determinism": NotYet((True, False), "runs are always deterministic"),
    "label_smoothing_factor": NotYet((0.0, 0), "the loss is the plain log-likelihood"),
    "neftune_noise_alpha": NotYet((None,), "embeddings get no noise"),
    "use_liger_kernel": NotYet((False,), _GPU),
    "deepspeed": NotYet((None,), "there is one process"),
    "fsdp": NotYet((None, ""), "there is one process"),
    "ddp_timeout": NotYet((), "there is one process"),
    "model_init_kwargs": NotYet((None,), "load the model with ptagrpo.load(...) and pass it"),
    "activation_offloading": NotYet((False,), _GPU),
    "average_tokens_across_devices": NotYet((True, False), "there is one device"),
    "disable_dropout": NotYet((True, False), "the models have no dropout"),
    "remove_unused_columns": NotYet((True, False, None), "columns always reach the reward functions"),
}

SFT: dict[str, NotYet] = COMMON | {
    "packing": NotYet((False,), "sequences are always packed without padding; a batch counts rows"),
    "packing_strategy": NotYet(("bfd",), "sequences are always packed without padding; a batch counts rows"),
    "eval_packing": NotYet((None, False), "sequences are always packed without padding"),
    "padding_free": NotYet((True, False), "there is never any padding"),
    "pad_to_multiple_of": NotYet((None,), "there is never any padding"),
    "assistant_only_loss": NotYet((False,), "completion_only_loss trains on the last assistant turn"),
    "loss_type": NotYet(("nll",), "the loss is the log-likelihood of the targets"),
    "chat_template_path": NotYet((None,), "set the tokenizer's chat template before training"),
    "eos_token": NotYet((None,), "the tokenizer's own end-of-sequence token is used"),
    "pad_token": NotYet((None,), "there is never any padding"),
}

RL: dict[str, NotYet] = COMMON | {
    "repetition_penalty": NotYet((1.0, 1), "sampled and trained distribution would differ"),
    "use_vllm": NotYet((False,), "sampling is built in"),
    "vllm_mode": NotYet((), "sampling is built in"),
    "cache_implementation": NotYet((None,), "sampling is built in"),
    "generation_kwargs": NotYet((None,), "use temperature, top_p, top_k, min_p, max_completion_length"),
    "chat_template_kwargs": NotYet((None,), "put what the template needs into the prompt's messages"),
    "num_generations_eval": NotYet((None,), "evaluation samples num_generations responses"),
    "importance_sampling_level": NotYet(("token",), "ratios are per token"),
    "multi_objective_aggregation": NotYet(("sum_then_normalize",), "rewards are summed, then normalised"),
    "sync_ref_model": NotYet((False,), "the reference policy stays the initial one"),
    "ref_model_mixup_alpha": NotYet((), "the reference policy stays the initial one"),
    "ref_model_sync_steps": NotYet((), "the reference policy stays the initial one"),
    "top_entropy_quantile": NotYet((1.0, 1), "every token counts in the loss"),
    "entropy_coef": NotYet((0.0, 0), "the loss has no entropy term"),
    "use_bias_correction_kl": NotYet((False,), "the KL estimator is k3 without importance weights"),
    "off_policy_mask_threshold": NotYet((None,), "sampling and training use the same weights"),
    "cast_lm_head_to_fp32": NotYet((True, False), "logits are always float32"),
    "max_prompt_length": NotYet((None,), "a prompt is never cut; drop long questions from the data"),
    "ds3_gather_for_generation": NotYet((True, False), "there is one process"),
    "shuffle_buffer_size": NotYet((), "the whole data set is shuffled"),
}
