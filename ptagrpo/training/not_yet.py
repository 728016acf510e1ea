"""Options that TRL and the Hugging Face Trainer have and this package has not: refused by name, never
ignored.

A value that asks for what is done anyway (`bf16=False`, `deepspeed=None`) is accepted, so that scripts
carry over. docs/trl_options.md lists them all; tests/test_trl_options.py compares it with this file.
"""

from __future__ import annotations

from .options import NotYet

_CPU = "this package computes in float32 or bfloat16 (bf16=True) on the CPU"
_DATA = "rows are read, tokenised and packed in the process itself"
_ONE = "there is one process"
_TORCH = "the models here are not torch modules"
_OFF = (False,)
_EITHER = (True, False)


def _absent(reason: str, **neutral: object) -> dict[str, NotYet]:
    """Options that share a reason, each with the one value that asks for nothing."""
    return {name: NotYet((value,), reason) for name, value in neutral.items()}


COMMON: dict[str, NotYet] = {
    "fp16": NotYet((False, None), _CPU),
    "tf32": NotYet((False, None), _CPU),
    "use_cpu": NotYet(_EITHER, _CPU),
    "no_cuda": NotYet(_EITHER, _CPU),
    **_absent(
        _CPU, bf16_full_eval=False, fp16_full_eval=False, activation_offloading=False, use_liger_kernel=False
    ),
    **_absent(_CPU, liger_kernel_config=None, torch_empty_cache_steps=None, auto_find_batch_size=False),
    **_absent(_TORCH, torch_compile=False, torch_compile_backend=None, torch_compile_mode=None),
    "use_cache": NotYet(_EITHER, "sampling always keeps keys and values, training never does"),
    "gradient_checkpointing_kwargs": NotYet(
        (None, {"use_reentrant": False}, {"use_reentrant": True}), "set gradient_checkpointing"
    ),  # how torch does it, the same gradients either way
    "activation_checkpointing": NotYet((None,), "set gradient_checkpointing"),
    "activation_checkpointing_kwargs": NotYet((None,), "set gradient_checkpointing"),
    "optim": NotYet(("adamw", "adamw_torch", "adamw_torch_fused"), "AdamW is the only optimizer"),
    **_absent("AdamW is the only optimizer, for all weights", optim_args=None, optim_target_modules=None),
    "logging_strategy": NotYet(("steps",), "logging goes by steps (logging_steps)"),
    "logging_nan_inf_filter": NotYet((True,), "a step that is not finite stops the run"),
    "include_num_input_tokens_seen": NotYet((False, "no", "all"), "num_tokens is always in metrics.jsonl"),
    "log_level": NotYet(("passive",), "messages are warnings and exceptions; use the module warnings"),
    "log_level_replica": NotYet(("warning",), _ONE),
    "project": NotYet(("huggingface",), "set WANDB_PROJECT or TRACKIO_PROJECT"),
    **_absent("trackio writes locally; set its own variables", trackio_space_id=None, trackio_bucket_id=None),
    "trackio_static_space_id": NotYet((None,), "trackio writes locally; set its own variables"),
    "prediction_loss_only": NotYet(_OFF, "an evaluation gives all its metrics"),
    "eval_do_concat_batches": NotYet((True,), "compute_metrics gets all rows at once"),
    "batch_eval_metrics": NotYet(_OFF, "compute_metrics gets all rows at once"),
    "include_for_metrics": NotYet(([],), "compute_metrics gets rows with all there is"),
    "label_names": NotYet((None,), "targets are the tokens of the completion"),
    "eval_accumulation_steps": NotYet((None,), "an evaluation keeps no logits that would have to be moved"),
    "save_safetensors": NotYet((True,), "tensors are only written as safetensors"),
    "enable_jit_checkpoint": NotYet(_OFF, "SIGTERM and Ctrl-C always save a checkpoint"),
    "ignore_data_skip": NotYet(_OFF, "a resumed run goes on at the very row where it stopped"),
    "restore_callback_states_from_checkpoint": NotYet(
        _OFF, "callbacks keep their own state; EarlyStoppingCallback counts in the log"
    ),
    "resume_from_checkpoint": NotYet((None,), "pass it to trainer.train(resume_from_checkpoint=...)"),
    "hub_token": NotYet(
        (None,), "options are stored with the run; log in with `hf auth login` or set HF_TOKEN"
    ),
    "hub_always_push": NotYet(_OFF, "an upload is waited for, none is skipped"),
    "group_by_length": NotYet(_OFF, "batches are packed without padding, there is nothing to gain"),
    "train_sampling_strategy": NotYet(
        ("random",), "set shuffle_dataset; there is no padding to gain from lengths"
    ),
    "length_column_name": NotYet(("length",), "batches are packed without padding, there is nothing to gain"),
    "dataloader_num_workers": NotYet((0,), _DATA),
    "dataloader_pin_memory": NotYet(_EITHER, _DATA),
    "dataloader_in_order": NotYet((True,), _DATA),
    **_absent(_DATA, dataloader_persistent_workers=False, dataloader_prefetch_factor=None),
    "dataloader_multiprocessing_context": NotYet((None,), _DATA),
    "dataloader_drop_last": NotYet(_OFF, "the last, smaller batch of an epoch is used"),
    "dataset_num_proc": NotYet((None, 1), _DATA),
    "data_seed": NotYet((None,), "the data order follows seed"),
    "full_determinism": NotYet(_EITHER, "runs are always deterministic"),
    "label_smoothing_factor": NotYet((0.0, 0), "the loss is the plain log-likelihood"),
    "neftune_noise_alpha": NotYet((None,), "embeddings get no noise"),
    "trust_remote_code": NotYet(_OFF, "no code of a model's repository is ever run"),
    "router_aux_loss_coef": NotYet((None,), "there are no mixture-of-experts models"),
    "deepspeed": NotYet((None,), _ONE),
    "fsdp": NotYet((None, "", []), _ONE),
    **_absent(_ONE, fsdp_config=None, accelerator_config=None, parallelism_config=None, ddp_backend=None),
    **_absent(_ONE, ddp_find_unused_parameters=None, ddp_bucket_cap_mb=None, ddp_broadcast_buffers=None),
    **_absent(_ONE, ddp_static_graph=None, ddp_timeout=1800, local_rank=-1, eval_use_gather_object=False),
    "log_on_each_node": NotYet(_EITHER, _ONE),
    "save_on_each_node": NotYet(_EITHER, _ONE),
    "average_tokens_across_devices": NotYet(_EITHER, "there is one device"),
    "debug": NotYet(("", []), "there is one device"),
    "skip_memory_metrics": NotYet(
        (True,), "memory is planned before a step (max_memory), not measured after it"
    ),
    **_absent("call trainer.train() or trainer.evaluate()", do_train=False, do_eval=False, do_predict=False),
    "remove_unused_columns": NotYet((True, False, None), "columns always reach the reward functions"),
}

_PACKED = "sequences are always packed without padding; a batch counts rows"
_PADDING = "there is never any padding"

SFT: dict[str, NotYet] = COMMON | {
    "packing": NotYet(_OFF, _PACKED),
    "packing_strategy": NotYet(("bfd",), _PACKED),
    "eval_packing": NotYet((None, False), _PACKED),
    "padding_free": NotYet(_EITHER, _PADDING),
    "pad_to_multiple_of": NotYet((None, "auto"), _PADDING),
    "pad_token": NotYet((None,), _PADDING),
    "assistant_only_loss": NotYet(_OFF, "completion_only_loss trains on the last assistant turn"),
    "loss_type": NotYet(("nll",), "the loss is the log-likelihood of the targets"),
    "truncation_mode": NotYet(("keep_start",), "rows that are too long are cut at the end"),
    "chat_template_path": NotYet((None,), "set the tokenizer's chat template before training"),
    "eos_token": NotYet((None,), "the tokenizer's own end-of-sequence token is used"),
    "dataset_kwargs": NotYet((None,), _DATA),
}

_SAMPLING = "sampling is built in"
_REFERENCE = "the reference policy stays the initial one"
_ENTROPY = "the loss has no entropy term"
_SAPO = "loss_type 'sapo' and 'vespo' are not supported"

RL: dict[str, NotYet] = COMMON | {
    "repetition_penalty": NotYet((1.0, 1), "sampled and trained distribution would differ"),
    "use_vllm": NotYet(_OFF, _SAMPLING),
    **_absent(_SAMPLING, vllm_mode="colocate", vllm_model_impl="vllm", vllm_enable_sleep_mode=False),
    **_absent(
        _SAMPLING, vllm_structured_outputs_regex=None, vllm_server_base_url=None, vllm_server_host="0.0.0.0"
    ),
    **_absent(_SAMPLING, vllm_server_port=8000, vllm_server_timeout=240.0, vllm_group_port=51216),
    **_absent(
        _SAMPLING, vllm_gpu_memory_utilization=0.3, vllm_max_model_length=None, vllm_tensor_parallel_size=1
    ),
    **_absent(
        _SAMPLING, use_transformers_continuous_batching=False, transformers_continuous_batching_config=None
    ),
    **_absent(_SAMPLING, use_transformers_paged=False, cache_implementation=None),
    "vllm_importance_sampling_correction": NotYet(_EITHER, "sampling and training give the same bits"),
    **_absent("sampling and training give the same bits", vllm_importance_sampling_mode="sequence_mask"),
    **_absent("sampling and training give the same bits", vllm_importance_sampling_clip_max=3.0),
    **_absent("sampling and training give the same bits", vllm_importance_sampling_clip_min=None),
    **_absent("sampling and training give the same bits", vllm_importance_sampling_cap=None),
    "generation_kwargs": NotYet((None,), "use temperature, top_p, top_k, min_p, max_completion_length"),
    "chat_template_kwargs": NotYet((None,), "put what the template needs into the prompt's messages"),
    "importance_sampling_level": NotYet(("token",), "ratios are per token"),
    **_absent(
        _SAPO, sapo_temperature_neg=1.05, sapo_temperature_pos=1.0, vespo_k_pos=2.0, vespo_lambda_pos=3.0
    ),
    **_absent(_SAPO, vespo_k_neg=3.0, vespo_lambda_neg=2.0),
    "multi_objective_aggregation": NotYet(("sum_then_normalize",), "rewards are summed, then normalised"),
    **_absent(_REFERENCE, sync_ref_model=False, ref_model_mixup_alpha=0.6, ref_model_sync_steps=512),
    "top_entropy_quantile": NotYet((1.0, 1), "every token counts in the loss"),
    "entropy_coef": NotYet((0.0, 0), _ENTROPY),
    **_absent(_ENTROPY, use_adaptive_entropy=False, entropy_coef_min=0.0, entropy_coef_max=1.0),
    **_absent(_ENTROPY, entropy_coef_delta=0.005, entropy_target=0.2),
    "use_bias_correction_kl": NotYet(_OFF, "the KL estimator is k3 without importance weights"),
    "off_policy_mask_threshold": NotYet((None,), "sampling and training use the same weights"),
    "cast_lm_head_to_fp32": NotYet(_EITHER, "logits are always float32"),
    "max_prompt_length": NotYet((None,), "a prompt is never cut; drop long questions from the data"),
    "ds3_gather_for_generation": NotYet(_EITHER, _ONE),
    "shuffle_buffer_size": NotYet((), "the whole data set is shuffled"),
    "pad_to_multiple_of": NotYet((None, "auto"), _PADDING),
    "max_tool_calling_iterations": NotYet((None,), "responses are text alone, without tool calls"),
    "log_multimodal": NotYet(_EITHER, "samples are shown as text"),
    "log_completions_hub_repo": NotYet((None,), "completions/ stays in the folder of the run"),
}
