"""bfloat16 against float64: logits, loss and gradients are as near to it as PyTorch's autocast of the same model."""

from __future__ import annotations

import numpy as np
import pytest

from ptagrpo import _core
from ptagrpo.models import ModelConfig

CASES = ("llama", "qwen2", "qwen3")
LIMIT = 1.1  # times autocast's error
SIZES = {
    "vocab_size": 300, "hidden_size": 128, "intermediate_size": 320, "num_hidden_layers": 4,
    "num_attention_heads": 8, "num_key_value_heads": 2, "head_dim": 16, "tie_word_embeddings": False,
}  # fmt: skip


def ours(config, weights, sequences):
    parsed = ModelConfig.from_dict(config)
    model = _core.Model(parsed.core_config("bfloat16"))
    for name, weight in model.parameters().items():
        weight[...] = weights[name]
    tokens = np.concatenate([s[:-1] for s in sequences])
    target = np.concatenate([s[1:] for s in sequences])
    offsets = np.cumsum([0, *(len(s) - 1 for s in sequences)]).astype(np.int32)
    forest = _core.Forest(tokens, offsets, np.full(len(sequences), -1, np.int32))
    rows = np.arange(len(tokens), dtype=np.int32)
    logits = model.logits(forest, rows)
    mean = np.full(len(rows), 1 / len(rows), np.float32)
    loss, _, _ = _core.train_likelihood(model, forest, rows, target, mean)
    return logits, loss, {name: gradient.copy() for name, gradient in model.gradients().items()}


def autocast(config, weights, sequences):
    import torch
    import transformers

    plain = {k: v for k, v in config.items() if k != "architectures"}
    model = (
        getattr(transformers, config["architectures"][0])(transformers.AutoConfig.for_model(**plain))
        .float()
        .eval()
    )
    model.load_state_dict({name: torch.from_numpy(array) for name, array in weights.items()})
    with torch.autocast("cpu", torch.bfloat16):
        outputs = [
            model(torch.from_numpy(s[:-1].astype(np.int64))[None], use_cache=False).logits[0].float()
            for s in sequences
        ]
    targets = torch.from_numpy(np.concatenate([s[1:] for s in sequences]).astype(np.int64))
    loss = torch.nn.functional.cross_entropy(torch.cat(outputs), targets)
    loss.backward()
    gradients = {name: p.grad.numpy() for name, p in model.named_parameters()}
    return torch.cat(outputs).detach().numpy(), loss.item(), gradients


def error(found, truth):
    return float(np.linalg.norm(np.asarray(found, np.float64) - truth) / np.linalg.norm(truth))


@pytest.mark.parametrize("family", CASES)
def test_errors_are_at_most_those_of_autocast(family):
    for module in ("torch", "transformers"):
        pytest.importorskip(module, reason=f"{module} is not installed: nothing to compare with")
    import model_oracle

    config = {
        **model_oracle.BASE, **SIZES, "model_type": family,
        "architectures": [model_oracle.ARCHITECTURES[family]],
    }  # fmt: skip
    totals = np.zeros((2, 3))
    for seed in range(3):
        weights = model_oracle.random_weights(ModelConfig.from_dict(config).parameter_shapes(), seed)
        sequences = model_oracle.random_tokens(config["vocab_size"], seed, (40, 97, 65))
        truth = model_oracle.compute(config, weights, sequences)
        exact = np.concatenate(truth["logits"])
        for side, (logits, loss, gradients) in enumerate(
            [ours(config, weights, sequences), autocast(config, weights, sequences)]
        ):
            assert set(gradients) == set(truth["gradients"])
            squares = [error(gradients[name], g) ** 2 for name, g in truth["gradients"].items()]
            totals[side] += error(logits, exact) ** 2, (loss - truth["loss"]) ** 2, np.mean(squares)
    mine, theirs = np.sqrt(totals / 3)
    print(f"{family}: errors of logits, loss, gradients: {mine}, autocast {theirs}")
    assert mine[0] <= LIMIT * theirs[0] and mine[2] <= LIMIT * theirs[2]
    assert mine[1] <= max(
        LIMIT * theirs[1], 2e-3 * abs(truth["loss"])
    )  # one number: its error can vanish by luck
