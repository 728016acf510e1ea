"""A plan tree computed once equals its m x z responses one by one: log-probabilities and every gradient.

The left side is the real path: forest, merged targets, `_core.policy_loss`, one backward pass. The right side
forgets that the responses share anything: each is a sequence of its own, its loss is the flat float64
reference's, its gradient is accumulated with the others.
"""

import numpy as np
import pytest
from rl_helpers import flat, random_model, tree
from test_packing import targets_of

from ptagrpo import _core, reference
from ptagrpo.packing import LOSS_TYPES, SFTRecord, loss_weights, pack_groups, pack_records

TOLERANCE = 1e-5
EPSILON_LOW, EPSILON_HIGH, BETA, MAX_LENGTH = 0.2, 0.28, 0.3, 12
MODELS = {
    "llama": dict(),
    "qwen2": dict(attention_bias=True, tied=False),
    "qwen3": dict(qk_norm=True),
}


def make_groups(seed):
    """Trees with EOS plans, empty chains and single plans, and a flat group; advantages of both signs."""
    rng = np.random.default_rng(seed)
    groups = [
        tree(rng, "a", [3, 1, 4], [[4, 2], [0, 5], None]),
        tree(rng, "b", [2, 2], [[1, 3, 6], [2, 2, 0]], prompt_length=1),
        tree(rng, "c", [5], [[2]]),
        flat(rng, "d", [3, 7, 1]),
    ]
    for group in groups:
        for response in group.responses:
            response.advantage = float(rng.normal())
    return groups, rng


def alone(group, response):
    """Forest, source and target of one response as a sequence of its own."""
    prompt = group.segments[0].token_ids
    tokens = np.concatenate([prompt, *(group.segments[s].token_ids for s in response.path)]).astype(np.int32)
    forest = _core.Forest(tokens, np.array([0, len(tokens)], np.int32), np.array([-1], np.int32))
    source = np.arange(len(prompt) - 1, len(tokens) - 1, dtype=np.int32)
    return forest, source, tokens[len(prompt) :].copy()


def responses_of(groups, rows):
    for group, group_rows in zip(groups, rows, strict=True):
        yield from ((group, response, row) for response, row in zip(group.responses, group_rows, strict=True))


def relative_errors(got, expected):
    return {
        name: float(np.linalg.norm(got[name].astype(np.float64) - value) / max(np.linalg.norm(value), 1e-30))
        for name, value in expected.items()
    }


def copy_gradients(model):
    return {name: gradient.astype(np.float64) for name, gradient in model.gradients().items()}


@pytest.mark.parametrize("family", MODELS)
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_logprobs_and_entropies(family, temperature):
    groups, _ = make_groups(0)
    model = random_model(1, **MODELS[family])
    batch = pack_groups(groups, loss_weights(groups, "sum"))
    logprobs, entropies = model.forward(batch.forest, batch.source, batch.target, temperature, keep=False)
    worst = 0.0
    for group, response, row in responses_of(groups, targets_of(groups)):
        expected = model.forward(*alone(group, response), temperature, keep=False)
        for got, values in zip((logprobs[row], entropies[row]), expected, strict=True):
            worst = max(worst, float(np.abs(got - values).max(initial=0.0)))
    assert worst <= TOLERANCE, worst


@pytest.mark.parametrize("loss_type", LOSS_TYPES)
@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("beta", [0.0, BETA])
@pytest.mark.parametrize("family", MODELS)
def test_gradients(family, beta, temperature, loss_type):
    groups, rng = make_groups(len(loss_type))
    model = random_model(2, **MODELS[family])
    weights = loss_weights(groups, loss_type, MAX_LENGTH)
    batch = pack_groups(groups, weights)
    logprobs, _ = model.forward(batch.forest, batch.source, batch.target, temperature)
    batch.old = (logprobs + rng.normal(0.0, 0.4, len(logprobs))).astype(np.float32)
    if beta:
        batch.ref = (logprobs + rng.normal(0.0, 0.4, len(logprobs))).astype(np.float32)
    loss, dlogprobs, stats = _core.policy_loss(
        logprobs, batch.old, batch.ref, batch.w_pos, batch.w_neg, batch.w_kl, EPSILON_LOW, EPSILON_HIGH, beta
    )
    assert stats["clip_low"] and stats["clip_high"]
    model.zero_grad()
    model.backward(dlogprobs)
    got = copy_gradients(model)

    model.zero_grad()
    items = list(responses_of(groups, targets_of(groups)))
    flat_weights = reference.token_weights(
        np.array([response.length for _, response, _ in items]), loss_type, MAX_LENGTH
    )
    expected_loss = 0.0
    for (group, response, row), weight in zip(items, flat_weights, strict=True):
        own, _ = model.forward(*alone(group, response), temperature)
        part, gradient = reference.policy_loss(
            [own.astype(np.float64)],
            [batch.old[row].astype(np.float64)],
            None if batch.ref is None else [batch.ref[row].astype(np.float64)],
            np.array([response.advantage]),
            np.array([weight]),
            epsilon_low=EPSILON_LOW,
            epsilon_high=EPSILON_HIGH,
            beta=beta,
        )
        expected_loss += part
        model.backward(gradient[0].astype(np.float32))
    errors = relative_errors(got, copy_gradients(model))
    assert max(errors.values()) <= TOLERANCE, {
        name: error for name, error in errors.items() if error > TOLERANCE
    }
    assert loss == pytest.approx(expected_loss, rel=1e-5, abs=1e-6)


def test_packed_sft_records_equal_single_ones():
    rng = np.random.default_rng(4)
    records = [
        SFTRecord.from_prompt(rng.integers(0, 11, int(p)), rng.integers(0, 11, int(c)))
        for p, c in rng.integers(1, 9, (6, 2))
    ]
    model = random_model(5)
    total = sum(record.num_targets for record in records)
    gradients = []
    for parts in ([records], [[record] for record in records]):
        model.zero_grad()
        loss = 0.0
        for part in parts:
            batch = pack_records(part, total_targets=total)
            logprobs, _ = model.forward(batch.forest, batch.source, batch.target)
            loss -= float(batch.w_pos.astype(np.float64) @ logprobs)
            model.backward(-batch.w_pos)
        gradients.append((copy_gradients(model), loss))
    errors = relative_errors(gradients[0][0], gradients[1][0])
    assert max(errors.values()) <= TOLERANCE, errors
    assert gradients[0][1] == pytest.approx(gradients[1][1], rel=1e-6)
