"""Trains a random model in a process of its own and says what memory that took: python memory_driver.py OPTIONS.

OPTIONS is a JSON object: config, method, tree (arguments of `estimate.Tree`), steps. Prints a JSON object: the largest
resident size above that after the imports, the estimate and its parts, tokens drawn, seconds of sampling and of the
update (the best of the steps) and what the probe says of them.
"""

from __future__ import annotations

import gc
import json
import sys
import tempfile
from pathlib import Path

import tokenizers

import ptagrpo
from ptagrpo import answers, distill, evaluation  # noqa: F401  (what a run imports on its way)
from ptagrpo.models import ModelConfig
from ptagrpo.policy import Policy
from ptagrpo.token_bytes import byte_level_alphabet
from ptagrpo.tokenizer import Tokenizer
from ptagrpo.training.estimate import METHODS, Setup, Tree, estimate
from ptagrpo.training.probe import step_seconds


def status(name: str) -> int:
    """Bytes of one of the sizes of this process."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) * 1024


def tokenizer() -> Tokenizer:
    vocabulary = {character: byte for character, byte in byte_level_alphabet().items()}
    backend = tokenizers.Tokenizer(tokenizers.models.BPE(vocab=vocabulary, merges=[]))
    backend.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = tokenizers.decoders.ByteLevel()
    backend.add_special_tokens(["<eos>"])
    return Tokenizer(backend, config={"eos_token": "<eos>", "pad_token": "<eos>"})


def uneven(completions, **_):
    """Rewards that differ within a group."""
    return [float(i) for i in range(len(completions))]


def main(options: dict) -> dict:
    setup = Setup(ModelConfig.from_dict(options["config"]), options["method"])
    tree = Tree(**options["tree"])
    tokens, baseline = tokenizer(), status("VmRSS")
    policy = Policy.from_config(setup.config, tokens, dtype=setup.dtype, quantization=METHODS[setup.method])
    with tempfile.TemporaryDirectory() as folder:
        args = ptagrpo.PTAGRPOConfig(
            output_dir=folder, max_steps=options["steps"], num_plans=tree.num_plans, cots_per_plan=tree.cots_per_plan,
            max_completion_length=tree.max_completion_length, max_plan_length=tree.plan_length, prompt_style="raw",
            save_strategy="no", disable_tqdm=True, beta=setup.beta, gradient_checkpointing=options["checkpointing"],
        )  # fmt: skip
        trainer = ptagrpo.PTAGRPOTrainer(
            policy, uneven, args, [{"prompt": "a" * tree.max_prompt_length, "answer": "1"}],
            peft_config=None if setup.method == "full" else setup.lora,
        )  # fmt: skip
        gc.collect()
        trainer.train()
        drawn = trainer.state.log_history[-1]["sampling/tokens"]
        timings = [json.loads(line) for line in (Path(folder) / "timings.jsonl").read_text().splitlines()]
    peak = status("VmHWM") - baseline
    del trainer, policy
    found = estimate(setup, tree, None if not options["checkpointing"] else 1)
    rollout = min(row["time_sampling"] for row in timings)
    return {
        "peak": peak,
        "seconds": [rollout, min(row["step_time"] - row["time_sampling"] for row in timings)],
        "probe": step_seconds(setup, tree, found.keep),
        "estimate": found.total,
        "parts": found.parts,
        "tokens": drawn,
    }


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1]))))
