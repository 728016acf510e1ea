"""Figure 15: a whole PTA-GRPO step of each of the paper's models at full size, under a limit of memory."""

from __future__ import annotations

import json
import math
from functools import partial
from typing import Any

from ptagrpo.environment import machine_memory
from ptagrpo.models import ModelConfig
from ptagrpo.training.estimate import METHODS, Setup, Tree, estimate, plan_tree

from .. import flops
from ..models import IMAGE_TOKENS, PAPER
from ..results import Result, commit
from ..worker import SideError, Worker

FIGURE = 15
LIMIT = 24 << 30
SHARE = 0.85  # of what is available now, at most: other processes go on meanwhile
PLANS, CHAINS, PROMPT, PLAN, CHAIN = 4, 3, 32, 8, 16
TREE = Tree(PLANS, CHAINS, PROMPT, PLAN + CHAIN, PLAN)
RANK = 16
GIB = 1 << 30


def quantization_of(config: ModelConfig, limit: int) -> str | None:
    """The larger of int8 and int4 with which a step fits; None: neither does."""
    for method in ("lora-int8", "lora-int4"):
        if estimate(Setup(config, method), TREE, limit).total <= limit:
            return METHODS[method]
    return None


def weight_bytes(config: ModelConfig, quantization: str) -> tuple[float, float]:
    """Bytes of the layers' matrices and of the head's: with a bfloat16 scale for 64 numbers; the head is bfloat16."""
    bits = {"int8": 8, "int4": 4}[quantization] + 16 / 64
    return flops.layer_weights(config) * bits / 8, 2.0 * flops.head_weights(config)


def rollout_seconds(config: ModelConfig, quantization: str, probes: dict[str, float]) -> float:
    """The least that the rollout can take: batch after batch, the slower of reading the weights once and of computing.

    Batches: an image, where the model sees; the prompt; for plans and for chains, one that draws from states that are
    there, and one for each further token; plans' last tokens before their chains. Keys and values are not counted.
    """
    layers, head = weight_bytes(config, quantization)
    rows = PLANS * CHAINS
    # (tokens through the layers, rows through the head, tokens that each of the former sees; 0: of one sequence)
    batches = [(PROMPT, 0, 0), (0, 1, 0), *((PLANS, PLANS, PROMPT + i) for i in range(1, PLAN))]
    batches += [(PLANS, 0, PROMPT + PLAN), (0, PLANS, 0)]
    batches += [(rows, rows, PROMPT + PLAN + i) for i in range(1, CHAIN)]
    patches, merged = flops.tower_weights(config)
    work = 2 * IMAGE_TOKENS * (4 * patches + merged)  # four patches a token
    seconds = max(2e-9 * (patches + merged) / probes["bandwidth"], 1e-9 * work / probes["bfloat16"])
    for tokens, targets, seen in batches:
        pairs = tokens * seen if seen else flops.causal_pairs([tokens])
        read = layers * (tokens > 0) + head * (targets > 0)
        work = flops.forward(config, tokens, targets, pairs)
        seconds += max(1e-9 * read / probes["bandwidth"], 1e-9 * work / probes["bfloat16"])
    return seconds


def update_work() -> tuple[int, int, int]:
    """(tokens, targets, pairs of query and key) of the update's forest."""
    lengths, parents = plan_tree(PROMPT, PLAN, CHAIN, PLANS, CHAINS)
    return sum(lengths), sum(lengths) - PROMPT, flops.forest_pairs(lengths, parents)


def measure(context: Any, row: str, name: str) -> list[Result]:
    """One model: its peak, its rollout and its update. Of the steps the fastest counts: the others also measure who
    shares the machine."""
    shape = dict(PAPER[name])
    if context.quick:
        shape |= {"num_hidden_layers": 1, "vocab_size": 16384, "eos_token_id": 16383, "image_token_id": 16382}
    config = ModelConfig.from_dict(shape)
    limit = min(LIMIT, int(SHARE * machine_memory()[1]))
    quantization = quantization_of(config, limit)
    if quantization is None:
        note = f"not enough memory: {limit / GIB:.1f} GiB"
        return [
            Result(row, FIGURE, f"{name}: peak memory", None, LIMIT / GIB, "GiB", at_most=True, note=note)
        ]
    context.probes.measure()
    options = {"config": shape, "quantization": quantization, "limit": LIMIT}
    with Worker("ours_large", options) as worker:
        sizes = {"plans": PLANS, "chains": CHAINS, "prompt": PROMPT, "plan": PLAN, "chain": CHAIN}
        run = worker.call("steps", count=context.rounds, **sizes, rank=RANK)
    probes = context.probes.measure()
    tokens, targets, pairs = update_work()
    whole = (
        run["prompt"] == PROMPT
        and all(count == tokens - PROMPT for count in run["tokens"])
        and all(norm > 0 for norm in run["grad_norm"])
    )
    if not whole or not all(math.isfinite(loss) for loss in run["loss"]):
        raise SideError(f"{name}: a step was not a whole one: {run}")
    planned = estimate(Setup(config, f"lora-{quantization}"), TREE, LIMIT).total + run["imported"]
    what = f"{name}, LoRA on {quantization}"
    peak, note = run["peak"] / GIB, f"weights made in {run['build']:.0f} s"
    results = [
        Result(row, FIGURE, f"{what}: peak memory of a PTA-GRPO step", peak, LIMIT / GIB, "GiB", peak, planned / GIB,
               "estimate-memory", at_most=True, note=note)
    ]  # fmt: skip
    least = {}
    if probes:
        work = flops.adapt(config, tokens, targets, pairs)
        least = {
            "rollout": rollout_seconds(config, quantization, probes),
            "update": 1e-9 * work / probes["bfloat16"],
        }
    for phase, count in (("rollout", tokens - PROMPT), ("update", tokens)):
        ours, best = count / min(run[phase]), count / least[phase] if least else None
        value, note = (ours / best, "") if best else (None, "no probe of peak and bandwidth")
        title = f"{what}: {phase}, share of roofline"
        results.append(Result(row, FIGURE, title, value, None, "tokens/s", ours, peak=best, note=note))
    return results


def five_models(context: Any, row: str) -> list[Result]:
    """All of them, one after the other, each in a process of its own. With --scratch, a model that has been measured
    there is not measured again: the row takes long, and may be stopped."""
    results = []
    for name in PAPER:
        stored = context.scratch / f"{row}-{'quick-' if context.quick else ''}{name}.json"
        if not stored.exists():
            found = measure(context, row, name)
            if any(result.value is None for result in found if result.goal is not None):
                results += found
                continue
            stored.write_text(json.dumps([{**vars(result), "commit": commit()} for result in found]))
        results += [Result(**values) for values in json.loads(stored.read_text())]
    return results


ROWS = {"five_models": partial(five_models, row="five_models")}
LONG = ("five_models",)
