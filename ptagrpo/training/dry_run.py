"""`--dry_run`: what a run would do, what it would take, and what looks wrong, before anything is trained."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from .. import _core
from ..environment import machine_memory
from ..generation import kv_bytes
from ..rollouts.prompts import encode_prompt
from .config import GRPOConfig, PTAGRPOConfig
from .estimate import rollout_segments, zero_forest
from .loop import Trainer
from .schedule import warmup_length

TIMED_TOKENS = 256  # of the forward pass that is timed
HIGH_RATE = {False: 1e-3, True: 1e-4}  # learning rates above it are remarked upon, SFT and RL


class DryRun:
    """A trainer looked at without training.

    Attributes:
        steps: optimizer steps. tokens_per_step: through forward and backward at most. memory: bytes by use. seconds:
        forward and backward of the whole run, about; sampling comes on top. doubts: what looks wrong, in sentences.
    """

    def __init__(self, trainer: Trainer, *, timed: bool = True):
        self._trainer, self._args = trainer, trainer.args
        self.steps = trainer._total_steps()
        self._rl = isinstance(trainer.args, GRPOConfig)
        self._lengths, self._parents, self._prompt, per_step = self._sizes()
        self.tokens_per_step = per_step
        self.memory = self._memory()
        self.seconds = self._time() * 3.0 * per_step * self.steps if timed else None
        self.doubts = self._doubts()

    def lines(self) -> list[str]:
        """The report as lines of text."""
        total, available = machine_memory()
        lines = [f"{self.steps} optimizer steps of at most {self.tokens_per_step:,} tokens"]
        if self.seconds is not None:
            sampling = ", sampling not counted" if self._rl else ""
            lines.append(f"about {duration(self.seconds)} of forward and backward at the most{sampling}")
        lines += [f"  {size / 1024**2:10,.1f} MiB  {use}" for use, size in self.memory.items()]
        needed = sum(self.memory.values())
        lines.append(f"  {needed / 1024**2:10,.1f} MiB  in all; {available / 1024**2:,.1f} MiB of "
                     f"{total / 1024**2:,.1f} MiB are available")  # fmt: skip
        lines += ["", "What looks wrong:" if self.doubts else "Nothing looks wrong."]
        return lines + [f"  - {doubt}" for doubt in self.doubts]

    def _sizes(self) -> tuple[list[int], list[int], int, int]:
        """(token counts of a micro-batch's segments: roots, or prompts with their plans and chains; their parents;
        longest prompt; tokens of an optimizer step at most).
        """
        trainer, args = self._trainer, self._args
        limit = trainer._memory.micro_batch_tokens
        if not self._rl:
            lengths = sorted((len(record.token_ids) for record in trainer._records), reverse=True)
            rows = lengths[: args.per_device_train_batch_size]
            fitting = max(1, int(np.searchsorted(np.cumsum(rows), limit, side="right")))
            return rows[:fitting], [-1] * len(rows[:fitting]), 0, sum(lengths[: trainer._batch_size])
        prompts = trainer._sampler._prompts
        prompt = max(len(encode_prompt(trainer.policy, question)) for question in prompts)
        group = sum(rollout_segments(args, prompt)[0])
        fitting = max(1, min(args.questions_per_step, limit // group))
        return *rollout_segments(args, prompt, fitting), prompt, group * args.questions_per_step

    def _memory(self) -> dict[str, int]:
        trainer = self._trainer
        model = trainer.policy.model
        sizes = model.memory()
        forest, targets = zero_forest(self._lengths, self._parents), sum(self._lengths)
        mode = "inputs" if self._args.gradient_checkpointing else "all"
        activations = _core.train_bytes(model, forest, targets, mode)
        if self._args.gradient_checkpointing is None and activations > trainer._memory.budget:
            mode, activations = "inputs", _core.train_bytes(model, forest, targets, "inputs")
        found = {
            "weights": sizes["weights"],
            "packed weights and gradients": sizes["packed"] + sizes["gradients"] + sizes["to_allocate"],
            "moments of AdamW": 8 * trainer.policy.num_parameters,
            f"activations of a micro-batch of {targets:,} tokens ({mode})": activations,
        }
        if self._rl:
            group = sum(self._lengths) // max(1, self._lengths.count(self._prompt))
            found["keys and values of one question's responses"] = kv_bytes(trainer.policy, group)
            if self._args.beta > 0.0 and trainer.policy.lora_config is None:
                found["reference policy"] = sizes["weights"]
        return found

    def _time(self) -> float:
        """Seconds of a forward pass, for each token."""
        policy = self._trainer.policy
        count = min(TIMED_TOKENS, policy.config.max_position_embeddings)
        ids = np.arange(count) % policy.config.vocab_size
        policy.logprobs([ids])
        began = time.perf_counter()
        policy.logprobs([ids])
        return (time.perf_counter() - began) / count

    def _doubts(self) -> list[str]:
        args, doubts = self._args, []
        available = machine_memory()[1]
        held = self.memory["weights"]  # counted as used already
        if sum(self.memory.values()) - held > available:
            doubts.append("It needs more memory than is available: smaller micro-batches "
                          "(max_tokens_per_micro_batch), gradient_checkpointing, shorter responses, or a smaller "
                          "model")  # fmt: skip
        positions = self._trainer.policy.config.max_position_embeddings
        longest = self._prompt + args.max_completion_length if self._rl else max(self._lengths)
        if longest > positions:
            doubts.append(
                f"Sequences of up to {longest} tokens exceed the model's max_position_embeddings {positions}"
            )
        if args.learning_rate > HIGH_RATE[self._rl]:
            doubts.append(
                f"learning_rate {args.learning_rate:g} is high; {HIGH_RATE[self._rl]:g} is already a lot"
            )
        if args.save_strategy == "steps" and args.save_steps > self.steps:
            doubts.append(f"save_steps {args.save_steps} is more than the {self.steps} steps of the run: a run that is "
                          "killed begins anew")  # fmt: skip
        if args.logging_steps > self.steps:
            doubts.append(
                f"logging_steps {args.logging_steps} is more than the {self.steps} steps: there is one row"
            )
        if warmup_length(args, self.steps) >= self.steps:
            doubts.append("The warm-up takes the whole run")
        if any(Path(args.output_dir).glob("checkpoint-*")) and not args.overwrite_output_dir:
            doubts.append(
                f"{args.output_dir} holds checkpoints: go on with --resume auto, or take another output_dir"
            )
        return doubts + (self._rl_doubts() if self._rl else [])

    def _rl_doubts(self) -> list[str]:
        args, doubts = self._args, []
        passes = self.steps / args.steps_per_rollout * args.minibatches * args.questions_per_step
        passes /= len(self._trainer._questions)
        if passes > 20:
            doubts.append(
                f"Each question is sampled about {passes:.0f} times: more questions would teach more"
            )
        if isinstance(args, PTAGRPOConfig) and args.use_plan_reward and args.plan_reward_weight > 0:
            if args.num_plans < 2:
                doubts.append(
                    "With num_plans=1 the plan reward is the same for all responses and teaches nothing"
                )
            if args.cots_per_plan < 2:
                doubts.append("With cots_per_plan=1 a plan's score is 0 or 1, the outcome once more")
        if args.top_p < 1.0 or args.top_k > 0 or args.min_p > 0.0:
            doubts.append("top_p, top_k or min_p cut the sampled distribution; the log-probabilities are those of the "
                          "uncut one")  # fmt: skip
        return doubts


def describe(trainer: Any, settings: dict[str, Any]) -> str:
    """The report of a dry run: resolved settings as YAML, then steps, time, memory and doubts."""
    text = yaml.safe_dump(settings, sort_keys=False, allow_unicode=True)
    return "\n".join(["# the resolved configuration", text, *DryRun(trainer).lines()])


def duration(seconds: float) -> str:
    """Seconds in the unit that reads well."""
    for unit, size in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} seconds"
