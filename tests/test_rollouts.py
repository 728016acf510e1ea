"""Rollouts: flat groups and plan trees, what ends a plan, draws that depend on nothing but their key."""

import numpy as np
import pytest

from ptagrpo.errors import ConfigError, DataError
from ptagrpo.packing import group_tokens, loss_weights, pack_groups
from ptagrpo.records import Question
from ptagrpo.rollouts import SamplingParams, encode_prompt, sample_flat, sample_trees

LOGPROB_TOLERANCE = 1e-4
M, Z = 3, 2
PARAMS = SamplingParams(max_completion_length=24, max_plan_length=9)
QUESTIONS = [
    Question("first", "what is 1 + 2 ?", "3"),
    Question("second", "a is 5 . b is a + 1 . what is b ?", "6"),
    Question("third", "7", "7"),
    Question("fourth", "so the plan is", "1"),
]


@pytest.fixture
def policy(tiny_policy):
    """Random weights over words: `</plan>` and `<eos>` come up by chance, a few times in a hundred tokens."""
    policy = tiny_policy(tokenizer="word", seed=3)
    ends = [policy.tokenizer.token_to_id("</plan>"), *policy.tokenizer.eos_token_ids]
    policy.model.parameters()["model.embed_tokens.weight"][ends] *= (
        2.0  # ends of both kinds come up more often
    )
    return policy


def same_draws(left, right):
    """Whether two groups hold the same tokens; log-probabilities may differ in the last bits of float32."""
    if len(left.segments) != len(right.segments):
        return False
    for a, b in zip(left.segments, right.segments, strict=True):
        if a.parent != b.parent or a.finish != b.finish or not np.array_equal(a.token_ids, b.token_ids):
            return False
        if not np.allclose(a.logprobs, b.logprobs, atol=1e-5, rtol=0):
            return False
    return [r.text for r in left.responses] == [r.text for r in right.responses]


def many_trees(policy, steps=12):
    return [
        group
        for step in range(steps)
        for group in sample_trees(policy, QUESTIONS, M, Z, PARAMS, seed=0, step=step)
    ]


def test_the_shape_of_a_plan_tree(policy):
    close, eos = policy.tokenizer.token_to_id("</plan>"), set(policy.tokenizer.eos_token_ids)
    seen = set()
    for group in many_trees(policy):
        assert (group.num_plans, group.cots_per_plan, len(group.responses)) == (M, Z, M * Z)
        assert group.segments[0].parent == -1 and group.segments[0].finish == "prompt"
        for index, segment in enumerate(group.segments[1:], start=1):
            assert segment.parent < index
            assert segment.token_ids.dtype == np.int32 and len(segment.token_ids) >= 1
            for values in (segment.logprobs, segment.sampling_logprobs, segment.entropies):
                assert values.dtype == np.float32 and len(values) == len(segment.token_ids)
            assert not eos & set(segment.token_ids[:-1].tolist())
            assert (segment.token_ids[-1] in eos) == (segment.finish == "eos")
        for place, response in enumerate(group.responses):
            assert (response.plan_index, response.cot_index) == divmod(place, Z)
            plan = group.segments[response.path[0]]
            assert plan.parent == 0 and len(plan.token_ids) <= PARAMS.max_plan_length
            assert (close in plan.token_ids) == (plan.finish == "stop")
            assert plan.finish != "stop" or plan.token_ids[-1] == close
            tokens = [int(t) for s in response.path for t in group.segments[s].token_ids]
            assert response.length == len(tokens) <= PARAMS.max_completion_length
            assert response.text == policy.tokenizer.decode([t for t in tokens if t not in eos])
            if plan.finish == "eos":
                assert response.path == group.responses[place - response.cot_index].path
                assert len(response.path) == 1 and response.finish == "eos"
            else:
                assert len(response.path) == 2
                assert group.segments[response.path[1]].parent == response.path[0]
                assert response.finish == group.segments[response.path[1]].finish
                if response.finish == "length":
                    assert response.length == PARAMS.max_completion_length
            seen.add((plan.finish, response.finish))
        assert max(segment.parent for segment in group.segments) < len(group.segments)
    assert {plan for plan, _ in seen} == {"stop", "eos", "length"}
    assert {response for _, response in seen} == {"eos", "length"}


def test_segments_are_in_depth_first_order(policy):
    for group in many_trees(policy, steps=3):
        path_of = {0: ()}
        for index, segment in enumerate(group.segments[1:], start=1):
            path_of[index] = (*path_of[segment.parent], index)
        assert list(path_of.values()) == sorted(path_of.values())
        pack_groups([group], loss_weights([group], "sum"))  # the forest checks the order too


def test_an_unclosed_plan_is_continued_by_its_chains(policy):
    close = policy.tokenizer.token_to_id("</plan>")
    late = 0
    for group in many_trees(policy):
        for response in group.responses:
            if group.segments[response.path[0]].finish == "length":
                late += close in group.segments[response.path[1]].token_ids
    assert late > 0  # some chain closes the plan that its plan segment left open


def test_a_plan_that_takes_the_whole_length_has_no_chains(policy):
    params = SamplingParams(max_completion_length=4, max_plan_length=10)
    lengths = set()
    for group in sample_trees(policy, QUESTIONS, M, Z, params, seed=0, step=0):
        for response in group.responses:
            lengths.add(response.length)
            assert response.length <= 4
            plan = group.segments[response.path[0]]
            if len(plan.token_ids) == 4 and plan.finish != "eos":
                assert response.path == (response.path[0],) and response.finish == "length"
    assert max(lengths) == 4


def test_the_shape_of_a_flat_group(policy):
    groups = sample_flat(policy, QUESTIONS, 5, PARAMS, seed=0, step=0)
    assert [group.question for group in groups] == QUESTIONS
    for group in groups:
        assert (group.num_plans, group.cots_per_plan) == (5, 1)
        assert [segment.parent for segment in group.segments] == [-1, 0, 0, 0, 0, 0]
        assert [response.path for response in group.responses] == [(i + 1,) for i in range(5)]
        assert [(r.plan_index, r.cot_index) for r in group.responses] == [(i, 0) for i in range(5)]
        assert all(r.length == len(group.segments[r.path[0]].token_ids) for r in group.responses)
        assert group_tokens(group) == len(group.segments[0].token_ids) + sum(
            r.length for r in group.responses
        )
        assert {r.finish for r in group.responses} <= {"eos", "length"}


@pytest.mark.parametrize("kind", ["tree", "flat"])
def test_a_response_does_not_depend_on_what_shares_its_batch(policy, kind):
    def sample(questions, step=4, seed=9, **options):
        if kind == "tree":
            return sample_trees(policy, questions, M, Z, PARAMS, seed=seed, step=step, **options)
        return sample_flat(policy, questions, M * Z, PARAMS, seed=seed, step=step, **options)

    together = sample(QUESTIONS)
    backwards = sample(QUESTIONS[::-1])[::-1]
    alone = [group for question in QUESTIONS for group in sample([question])]
    in_parts = sample(QUESTIONS, memory_budget=1)
    for groups in (backwards, alone, in_parts):
        assert all(same_draws(a, b) for a, b in zip(together, groups, strict=True))
    for groups in (sample(QUESTIONS, step=5), sample(QUESTIONS, seed=10)):
        assert not any(same_draws(a, b) for a, b in zip(together, groups, strict=True))


def test_fewer_plans_and_chains_are_the_first_of_more(policy):
    more = sample_trees(policy, QUESTIONS, M, Z, PARAMS, seed=1, step=0)
    fewer = sample_trees(policy, QUESTIONS, M - 1, Z - 1, PARAMS, seed=1, step=0)
    for large, small in zip(more, fewer, strict=True):
        texts = {(r.plan_index, r.cot_index): r.text for r in large.responses}
        assert all(texts[r.plan_index, r.cot_index] == r.text for r in small.responses)
    flat_more = sample_flat(policy, QUESTIONS, 6, PARAMS, seed=1, step=0)
    flat_fewer = sample_flat(policy, QUESTIONS, 2, PARAMS, seed=1, step=0)
    for large, small in zip(flat_more, flat_fewer, strict=True):
        assert [r.text for r in large.responses[:2]] == [r.text for r in small.responses]


def test_plans_chains_and_repeated_questions_get_draws_of_their_own(policy):
    (group,) = sample_flat(policy, QUESTIONS[:1], 30, PARAMS, seed=0, step=0)
    long = [tuple(segment.token_ids) for segment in group.segments[1:] if len(segment.token_ids) > 3]
    assert len(set(long)) == len(long) > 15
    (tree,) = sample_trees(policy, QUESTIONS[:1], 10, 3, PARAMS, seed=0, step=0)
    plans = [tuple(s.token_ids) for s in tree.segments if s.parent == 0 and len(s.token_ids) > 3]
    assert len(set(plans)) == len(plans) > 3
    once, again = sample_flat(policy, [QUESTIONS[0]] * 2, 3, PARAMS, seed=0, step=0)
    assert not same_draws(once, again)
    assert same_draws(once, sample_flat(policy, QUESTIONS[:1], 3, PARAMS, seed=0, step=0)[0])


@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3"])
@pytest.mark.parametrize("kind", ["tree", "flat"])
@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_sampled_logprobs_equal_the_trainers(tiny_policy, family, kind, temperature):
    policy = tiny_policy(family, tokenizer="word", seed=1)
    params = SamplingParams(temperature=temperature, max_completion_length=30, max_plan_length=12)
    if kind == "tree":
        groups = sample_trees(policy, QUESTIONS, M, Z, params, seed=2, step=0)
    else:
        groups = sample_flat(policy, QUESTIONS, M * Z, params, seed=2, step=0)
    batch = pack_groups(groups, loss_weights(groups, "sum"))
    logprobs, entropies = policy.model.forward(
        batch.forest, batch.source, batch.target, temperature, keep=False
    )
    assert float(np.abs(logprobs - batch.old).max()) <= LOGPROB_TOLERANCE
    sampled = [segment for group in groups for segment in group.segments[1:]]
    recorded = np.concatenate([segment.entropies for segment in sampled])
    assert float(np.abs(entropies - recorded).max()) <= LOGPROB_TOLERANCE
    for segment in sampled:  # nothing was truncated: both log-probabilities are the same
        assert np.allclose(segment.sampling_logprobs, segment.logprobs, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    "filters", [{"top_k": 4}, {"top_p": 0.6}, {"min_p": 0.3}, {"top_k": 9, "top_p": 0.8}]
)
def test_logprobs_under_truncation(policy, filters):
    params = SamplingParams(temperature=0.8, max_completion_length=20, max_plan_length=8, **filters)
    groups = sample_trees(policy, QUESTIONS, M, Z, params, seed=2, step=0)
    batch = pack_groups(groups, loss_weights(groups, "sum"))
    logprobs, _ = policy.model.forward(batch.forest, batch.source, batch.target, 0.8, keep=False)
    assert float(np.abs(logprobs - batch.old).max()) <= LOGPROB_TOLERANCE  # temperature alone: recomputable
    logits = policy.model.logits(batch.forest, batch.source).astype(np.float64) / 0.8
    sampling = np.concatenate([s.sampling_logprobs for group in groups for s in group.segments[1:]])
    probabilities = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    for row, token, got in zip(probabilities, batch.target, sampling, strict=True):
        expected = np.log(row[token] / row[survivors(row, **filters)].sum())
        assert got == pytest.approx(expected, abs=LOGPROB_TOLERANCE)
    assert float((sampling - batch.old).mean()) > 0.05


def survivors(row, top_k=0, top_p=1.0, min_p=0.0):
    """Tokens that top-k, then top-p, then min-p leave, by sorting (no ties in random logits)."""
    order = np.argsort(-row)
    if top_k:
        order = order[:top_k]
    if top_p < 1.0:
        kept = row[order] / row[order].sum()
        order = order[np.cumsum(kept) - kept < top_p]
    return order[row[order] >= min_p * row[order[0]]]


def test_chat_prompts_and_special_tokens(tiny_policy):
    policy = tiny_policy(tokenizer="byte")
    messages = [{"role": "user", "content": "What is 1+1?"}]
    ids = encode_prompt(policy, Question("chat", messages)).ids
    assert policy.tokenizer.decode(ids, skip_special_tokens=False) == "<|user|>What is 1+1?<eos><|assistant|>"
    assert encode_prompt(policy, Question("plain", "<plan>1")).ids.tolist() == policy.tokenizer.encode("<plan>1")
    (group,) = sample_trees(policy, [Question("chat", messages)], 4, 3, PARAMS, seed=0, step=0)
    assert group.segments[0].token_ids.tolist() == ids.tolist()
    special = ("<eos>", "<pad>", "<|user|>", "<|assistant|>")
    assert not any(text in response.text for response in group.responses for text in special)


def test_a_plan_ends_where_its_tag_is_spelled_out(tiny_policy):
    # A model that knows nothing but what follows a letter writes "</plan>x</plan>x..." byte by byte.
    policy = tiny_policy("qwen2", tokenizer="byte")
    weights = policy.model.parameters()
    for name, weight in weights.items():
        if "norm" not in name:
            weight[...] = 0.0
    letters = [policy.tokenizer.encode(letter)[0] for letter in "x</plan>"]
    for dimension, (letter, following) in enumerate(zip(letters, letters[1:] + letters[:1], strict=True)):
        weights["model.embed_tokens.weight"][letter, dimension] = 1.0
        weights["lm_head.weight"][following, dimension] = 20.0
    params = SamplingParams(max_completion_length=12, max_plan_length=9)
    (group,) = sample_trees(policy, [Question("q", "x")], 2, 2, params, seed=0, step=0)
    for response in group.responses:
        plan, chain = (group.segments[index] for index in response.path)
        assert plan.finish == "stop" and policy.tokenizer.decode(plan.token_ids) == "</plan>"
        assert chain.finish == "length" and response.text == "</plan>x</pl"


def test_refusals(policy, tiny_policy):
    with pytest.raises(DataError, match="'nothing'.*no tokens"):
        sample_flat(policy, [Question("nothing", "")], 2, PARAMS, seed=0, step=0)
    with pytest.raises(ConfigError, match="num_generations: got 0"):
        sample_flat(policy, QUESTIONS, 0, PARAMS, seed=0, step=0)
    with pytest.raises(ConfigError, match="num_plans: got 0"):
        sample_trees(policy, QUESTIONS, 0, 2, PARAMS, seed=0, step=0)
    with pytest.raises(ConfigError, match="cots_per_plan: got -1"):
        sample_trees(policy, QUESTIONS, 2, -1, PARAMS, seed=0, step=0)
    assert sample_trees(policy, [], 2, 2, PARAMS, seed=0, step=0) == []
    assert sample_flat(policy, [], 2, PARAMS, seed=0, step=0) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": 0.0}, "temperature: got 0.0"),
        ({"temperature": float("nan")}, "temperature"),
        ({"top_p": 0.0}, "top_p: got 0.0"),
        ({"top_p": 1.1}, "top_p: got 1.1"),
        ({"top_k": -1}, "top_k: got -1"),
        ({"min_p": 1.0}, "min_p: got 1.0"),
        ({"max_completion_length": 0}, "max_completion_length: got 0"),
        ({"max_plan_length": 0}, "max_plan_length: got 0"),
    ],
)
def test_sampling_params_out_of_range(options, message):
    with pytest.raises(ConfigError, match=message):
        SamplingParams(**options)


def test_plan_limit():
    assert SamplingParams(max_completion_length=100).plan_limit == 50
    assert SamplingParams(max_completion_length=1).plan_limit == 1
    assert SamplingParams(max_completion_length=10, max_plan_length=99).plan_limit == 10
    assert SamplingParams(max_completion_length=10, max_plan_length=3).plan_limit == 3
