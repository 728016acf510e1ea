"""What a trainer is given beside its configuration: the model, its tokenizer, and arguments of other trainers."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import ConfigError, did_you_mean
from ..policy import Policy
from ..tokenizer import Tokenizer
from .config_common import TrainingConfig

_GPU_TRAINER = "the models here are not torch modules"
REFUSED: dict[str, tuple[Any, str]] = {  # argument -> (neutral value beside None, reason)
    "optimizers": ((None, None), "AdamW and the schedules of lr_scheduler_type are all there is"),
    "optimizer_cls_and_kwargs": (None, "AdamW is the only optimizer; set it by adam_beta1 and its fellows"),
    "quantization_config": (None, "weights are float32 or bfloat16 (bf16=True)"),
    "reward_processing_classes": (None, "reward models are not supported; reward functions are"),
    "tools": (None, "responses are text alone, without tool calls"),
    "rollout_func": (None, "sampling is built in"),
    "environment_factory": (None, "sampling is built in, without an environment"),
    "data_collator": (None, "rows are tokenised and packed by the trainer"),
    "formatting_func": (None, "map the data set's rows before training"),
    "compute_loss_func": (None, "the loss is computed in C"),
    "preprocess_logits_for_metrics": (
        None,
        "logits are never stored; compute_metrics gets log-probabilities",
    ),
    "model_init": (None, _GPU_TRAINER),
}


def refuse_arguments(trainer: str, given: Mapping[str, Any]) -> None:
    """Refuse arguments that only other trainers have, unless they say nothing.

    Raises:
        ConfigError: names the argument and the reason; for an unknown one, the nearest known name.
    """
    for name, value in given.items():
        if name not in REFUSED:
            known = ["model", "args", "train_dataset", "eval_dataset", "callbacks", "processing_class",
                     "compute_metrics", "reward_funcs", "peft_config", *REFUSED]  # fmt: skip
            raise ConfigError(f"{trainer}: there is no argument {name!r}.{did_you_mean(name, known)}")
        neutral, reason = REFUSED[name]
        if value is not None and value != neutral:
            raise ConfigError(f"{trainer}: {name} is not supported: {reason}; leave it out")


def take_model(
    trainer: str,
    model: Policy | str | Path,
    args: TrainingConfig,
    processing_class: Any,
    peft_config: Any = None,
) -> Policy:
    """The policy to train: `model`, or what it names, with the tokenizer `processing_class` if one is given, and with a
    new adapter where `peft_config` or the options ask for one.

    Raises:
        ConfigError: contradictions about the element type, or something that is no model or tokenizer.
    """
    wanted = {None: None, True: "bfloat16", False: "float32"}[args.bf16]
    if isinstance(model, Policy):
        if wanted not in (None, model.dtype):
            raise ConfigError(
                f"{trainer}: bf16={args.bf16} asks for a model of dtype {wanted}, but the policy given is "
                f"{model.dtype}: load it with ptagrpo.load(..., dtype={wanted!r}), or leave bf16 out"
            )
        if args.model_init_kwargs:
            raise ConfigError(f"{trainer}: model_init_kwargs are for a model given by path or hub id")
        policy = model
    elif isinstance(model, (str, os.PathLike)):
        options = {
            k: v for k, v in (args.model_init_kwargs or {}).items() if k not in ("dtype", "torch_dtype")
        }
        policy = Policy.from_pretrained(
            model,
            dtype=wanted or args.model_init_dtype or "float32",
            **_quantization(trainer, args),
            **{"max_memory": args.max_memory, **options},
        )
    else:
        raise ConfigError(
            f"{trainer}: model: expected a ptagrpo Policy, a folder or a hub id, got {type(model).__name__}; a "
            "model of transformers can be saved by save_pretrained(folder) and given as that folder"
        )
    if processing_class is not None:
        policy = policy.with_tokenizer(take_tokenizer(trainer, processing_class))
    if peft_config is None and args.use_peft and policy.lora_config is None:
        peft_config = {
            "r": args.lora_r, "lora_alpha": args.lora_alpha, "lora_dropout": args.lora_dropout,
            "target_modules": _targets(args.lora_target_modules), "use_rslora": args.use_rslora,
        }  # fmt: skip
    if peft_config is not None:
        policy.add_adapter(peft_config, seed=args.seed)
    if policy.quantization is not None and policy.lora_config is None:
        raise ConfigError(
            f"{trainer}: the weights are frozen as {policy.quantization}: pass peft_config (or use_peft) to train an "
            "adapter"
        )
    return policy


def _quantization(trainer: str, args: TrainingConfig) -> dict[str, str]:
    if args.load_in_4bit and args.load_in_8bit:
        raise ConfigError(f"{trainer}: load_in_4bit and load_in_8bit contradict each other")
    return (
        {"quantization": "int4" if args.load_in_4bit else "int8"}
        if args.load_in_4bit or args.load_in_8bit
        else {}
    )


def _targets(names: list[str] | None) -> Any:
    return "all-linear" if names == ["all-linear"] else names


def take_tokenizer(trainer: str, processing_class: Any) -> Tokenizer:
    """Ours as it is; one of transformers by way of its files."""
    if isinstance(processing_class, Tokenizer):
        return processing_class
    if not hasattr(processing_class, "save_pretrained"):
        raise ConfigError(
            f"{trainer}: processing_class: expected a ptagrpo Tokenizer or a tokenizer of transformers, got "
            f"{type(processing_class).__name__}"
        )
    with tempfile.TemporaryDirectory() as folder:
        processing_class.save_pretrained(folder)
        return Tokenizer.from_folder(folder)
