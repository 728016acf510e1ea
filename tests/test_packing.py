"""Packing: the forest holds every sampled token once, and every response finds its own context and weights in
it."""

import numpy as np
import pytest
from rl_helpers import flat, random_tree, tree

from ptagrpo.errors import ConfigError, DataError
from ptagrpo.packing import (
    LOSS_TYPES,
    SFTRecord,
    group_tokens,
    loss_weights,
    pack_groups,
    pack_records,
    split_groups,
    split_records,
)


def context_of(forest, row):
    """Tokens that row `row` sees, its own included: its segment up to it, and its ancestors in full."""
    offsets, parent, tokens = np.asarray(forest.offsets), np.asarray(forest.parent), np.asarray(forest.tokens)
    segment = int(np.searchsorted(offsets, row, side="right") - 1)
    runs = [tokens[offsets[segment] : row + 1]]
    while (segment := int(parent[segment])) >= 0:
        runs.append(tokens[offsets[segment] : offsets[segment + 1]])
    return np.concatenate(runs[::-1]).tolist()


def targets_of(groups):
    """Indices of the targets of each response of each group, in packing order."""
    start, result = 0, []
    for group in groups:
        ranges = {}
        for index, segment in enumerate(group.segments[1:], start=1):
            ranges[index] = np.arange(start, start + len(segment.token_ids))
            start += len(segment.token_ids)
        result.append([np.concatenate([ranges[s] for s in response.path]) for response in group.responses])
    return result


def test_every_response_finds_its_context_its_tokens_and_its_weights():
    rng = np.random.default_rng(0)
    for _ in range(150):
        groups = [random_tree(rng, f"q{i}") for i in range(int(rng.integers(1, 4)))]
        for group in groups:
            for response in group.responses:
                response.advantage = float(rng.choice([-1.5, 0.0, rng.normal()]))
        weights = [[float(rng.random()) for _ in group.responses] for group in groups]
        batch = pack_groups(groups, weights)
        sampled = sum(len(s.token_ids) for group in groups for s in group.segments[1:])
        assert len(batch.source) == len(batch.target) == sampled  # each sampled token is one target
        assert batch.num_tokens == batch.forest.num_tokens == sum(map(group_tokens, groups))
        assert batch.num_responses == sum(len(group.responses) for group in groups)
        sums = np.zeros((3, sampled))
        for group, group_weights, targets in zip(groups, weights, targets_of(groups), strict=True):
            prompt = group.segments[0].token_ids.tolist()
            for response, weight, indices in zip(group.responses, group_weights, targets, strict=True):
                tokens = np.concatenate([group.segments[s].token_ids for s in response.path]).tolist()
                old = np.concatenate([group.segments[s].logprobs for s in response.path])
                assert batch.target[indices].tolist() == tokens
                assert np.array_equal(batch.old[indices], old)
                for place, index in enumerate(indices):
                    assert context_of(batch.forest, batch.source[index]) == prompt + tokens[:place]
                sums[0, indices] += weight * max(response.advantage, 0.0)
                sums[1, indices] += weight * min(response.advantage, 0.0)
                sums[2, indices] += weight
        for got, expected in zip((batch.w_pos, batch.w_neg, batch.w_kl), sums, strict=True):
            assert got.dtype == np.float32
            assert np.array_equal(got, expected.astype(np.float32))
        assert batch.ref is None and batch.source.dtype == batch.target.dtype == np.int32


def test_loss_weights_by_hand():
    rng = np.random.default_rng(0)
    groups = [tree(rng, "a", [2, 4], [[3, 0], None]), flat(rng, "b", [5])]
    lengths = [[5, 2, 4, 4], [5]]
    assert [[response.length for response in group.responses] for group in groups] == lengths
    by_type = {
        "grpo": [[1 / (5 * n) for n in row] for row in lengths],
        "dapo": [[1 / 20] * 4, [1 / 20]],
        "dr_grpo": [[1 / 50] * 4, [1 / 50]],
        "sum": [[1 / 5] * 4, [1 / 5]],
    }
    assert set(by_type) == set(LOSS_TYPES)
    for loss_type, expected in by_type.items():
        got = loss_weights(groups, loss_type, 10)
        assert [len(row) for row in got] == [4, 1]
        assert np.allclose(np.concatenate(got), np.concatenate(expected), rtol=1e-15, atol=0)


@pytest.mark.parametrize("loss_type", LOSS_TYPES)
def test_micro_batches_have_the_weights_of_the_whole_batch(loss_type):
    rng = np.random.default_rng(1)
    groups = [random_tree(rng, f"q{i}") for i in range(7)]
    for group in groups:
        for response in group.responses:
            response.advantage = float(rng.normal())
    weights = loss_weights(groups, loss_type, 20)
    whole = pack_groups(groups, weights)
    parts = [
        pack_groups([groups[i] for i in part], [weights[i] for i in part])
        for part in split_groups(groups, 40)
    ]
    assert len(parts) > 1
    for name in ("target", "old", "w_pos", "w_neg", "w_kl"):
        joined = np.concatenate([getattr(part, name) for part in parts])
        assert np.array_equal(joined, getattr(whole, name))


def test_truncated_responses_can_be_masked_without_moving_the_others():
    rng = np.random.default_rng(0)
    group = flat(rng, "a", [5, 5, 2])
    group.responses[1].finish = "length"
    for loss_type in LOSS_TYPES:
        plain = loss_weights([group], loss_type, 8)[0]
        masked = loss_weights([group], loss_type, 8, mask_truncated=True)[0]
        assert masked == [plain[0], 0.0, plain[2]]


def test_loss_weights_refuses():
    with pytest.raises(ConfigError, match="loss_type: got 'drgrpo'.*Did you mean 'dr_grpo'"):
        loss_weights([], "drgrpo")
    with pytest.raises(ConfigError, match="'dr_grpo' divides by max_completion_length: got None"):
        loss_weights([], "dr_grpo")


def test_split_keeps_order_and_never_splits_a_group():
    rng = np.random.default_rng(0)
    groups = [flat(rng, str(n), [n], prompt_length=1) for n in (3, 4, 50, 1, 2, 3)]
    assert [group_tokens(group) for group in groups] == [4, 5, 51, 2, 3, 4]
    assert split_groups(groups, 9) == [[0, 1], [2], [3, 4, 5]]
    assert split_groups(groups, 8) == [[0], [1], [2], [3, 4], [5]]
    assert split_groups(groups, 1) == [[0], [1], [2], [3], [4], [5]]
    assert split_groups(groups, 10**6) == [[0, 1, 2, 3, 4, 5]]
    assert split_groups([], 8) == []
    with pytest.raises(ConfigError, match="max_tokens: got 0"):
        split_groups(groups, 0)


def test_pack_groups_refuses():
    rng = np.random.default_rng(0)
    group = flat(rng, "name of it", [2, 3])
    with pytest.raises(DataError, match="'name of it': 2 responses but 1 weights"):
        pack_groups([group], [[1.0]])
    with pytest.raises(DataError, match="1 groups but 0"):
        pack_groups([group], [])
    with pytest.raises(DataError, match="'e': the prompt has no tokens"):
        pack_groups([flat(rng, "e", [2], prompt_length=0)], [[1.0]])


def test_records_only_completions_are_targets():
    records = [SFTRecord.from_prompt([1, 2, 3], [4, 5]), SFTRecord.from_prompt([6], [7])]
    batch = pack_records(records)
    assert batch.forest.tokens.tolist() == [1, 2, 3, 4, 5, 6, 7]
    assert batch.forest.parent.tolist() == [-1, -1]
    assert batch.source.tolist() == [2, 3, 5] and batch.target.tolist() == [4, 5, 7]
    assert np.array_equal(batch.w_pos, np.full(3, 1 / 3, np.float32))
    assert not batch.w_neg.any() and not batch.w_kl.any() and not batch.old.any()
    assert batch.num_responses == 2 and batch.num_tokens == 7
    halves = [pack_records([record], total_targets=3) for record in records]
    assert np.concatenate([half.w_pos for half in halves]).sum() == pytest.approx(1.0)


def test_records_with_masks_of_their_own():
    every = SFTRecord(np.array([1, 2, 3]), np.array([True, True, True]))
    assert every.num_targets == 2  # nothing predicts the first token
    turns = SFTRecord(np.array([1, 2, 3, 4, 5]), np.array([False, True, False, False, True]))
    batch = pack_records([every, turns])
    assert batch.source.tolist() == [0, 1, 3, 6] and batch.target.tolist() == [2, 3, 2, 5]
    empty = SFTRecord.from_prompt([1, 2], [])
    assert empty.num_targets == 0
    assert pack_records([empty, turns]).source.tolist() == [2, 5]
    assert split_records([every, turns, empty], 8) == [[0, 1], [2]]
    with pytest.raises(DataError, match="no token counts in the loss"):
        pack_records([empty])
    with pytest.raises(DataError, match="record 1: 3 tokens but a loss mask of 2"):
        pack_records([turns, SFTRecord(np.array([1, 2, 3]), np.array([True, True]))])
