"""Groups made by hand or by chance, without a model, for the tests of rewards, advantages and packing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ptagrpo.parsing import parse_response
from ptagrpo.records import Group, Question, Response, Segment


@dataclass
class Verdict:
    status: str
    extracted: str | None
    detail: str = ""


class TextJudge:
    """Correct if the answer's text is the gold's text; counts how many pairs it was asked."""

    def __init__(self):
        self.asked = 0

    def judge(self, items, kind="math"):
        self.asked += len(items)
        verdicts = []
        for text, gold in items:
            answer = parse_response(text).answer
            status = "no_answer" if answer is None else "correct" if answer == gold else "wrong"
            verdicts.append(Verdict(status, answer))
        return verdicts


def segment(rng, parent, length, finish="eos", vocab=11):
    old = -rng.exponential(size=length).astype(np.float32)
    tokens = rng.integers(0, vocab, length).astype(np.int32)
    return Segment(parent, tokens, old, old.copy(), np.zeros(length, np.float32), finish)


def prompt(rng, length, vocab=11):
    nothing = np.zeros(0, np.float32)
    return Segment(-1, rng.integers(0, vocab, length).astype(np.int32), nothing, nothing, nothing, "prompt")


def tree(rng, name, plan_lengths, chain_lengths, prompt_length=3, answer="1", texts=None, vocab=11):
    """A plan tree. chain_lengths[i] lists the chains of plan i; None for a plan that ended by EOS (no
    chains).

    Such a plan still stands for as many responses as the other plans have chains.
    """
    z = max(len(chains) for chains in chain_lengths if chains is not None) if any(chain_lengths) else 2
    group = Group(Question(name, "p", answer), [prompt(rng, prompt_length, vocab)], [], len(plan_lengths), z)
    for i, (plan_length, chains) in enumerate(zip(plan_lengths, chain_lengths, strict=True)):
        group.segments.append(segment(rng, 0, plan_length, "eos" if chains is None else "stop", vocab))
        plan_segment = len(group.segments) - 1
        for k in range(z):
            path = (plan_segment,)
            if chains is not None:
                group.segments.append(segment(rng, plan_segment, chains[k], "eos", vocab))
                path += (len(group.segments) - 1,)
            length = sum(len(group.segments[s].token_ids) for s in path)
            text = "" if texts is None else texts[i * z + k]
            parsed = parse_response(text)
            group.responses.append(Response(path, i, k, text, parsed.plan, parsed.answer, "eos", length))
    return group


def flat(rng, name, lengths, answer="1", texts=None, prompt_length=3, question_prompt="p", vocab=11):
    group = Group(
        Question(name, question_prompt, answer), [prompt(rng, prompt_length, vocab)], [], len(lengths), 1
    )
    for i, length in enumerate(lengths):
        group.segments.append(segment(rng, 0, length, "eos", vocab))
        text = "" if texts is None else texts[i]
        parsed = parse_response(text)
        group.responses.append(Response((i + 1,), i, 0, text, parsed.plan, parsed.answer, "eos", length))
    return group


def random_tree(rng, name, vocab=11):
    """A tree of chance, with plans ended by EOS and with empty chains now and then."""
    m, z = int(rng.integers(1, 5)), int(rng.integers(1, 4))
    chains = [None if rng.random() < 0.2 else [int(n) for n in rng.integers(0, 7, z)] for _ in range(m)]
    if all(row is None for row in chains):
        chains[0] = [int(n) for n in rng.integers(1, 7, z)]
    return tree(
        rng, name, [int(n) for n in rng.integers(1, 6, m)], chains, int(rng.integers(1, 5)), vocab=vocab
    )


def answer_text(right, template=True, answer="1"):
    """A response whose answer is right or wrong, with or without the template."""
    value = answer if right else f"{answer}0"
    body = f"<think> t </think> <answer> {value} </answer>"
    return f"<plan> p </plan> {body}" if template else body


def random_model(seed, *, vocab=11, attention_bias=False, qk_norm=False, tied=True):
    """A small `_core.Model` with random weights (2 layers, grouped-query attention, odd sizes)."""
    from ptagrpo import _core

    head_dim = 6
    model = _core.Model(
        {
            "vocab_size": vocab,
            "hidden_size": 20,
            "intermediate_size": 27,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": head_dim,
            "rms_norm_eps": 1e-6,
            "tie_word_embeddings": tied,
            "attention_bias": attention_bias,
            "qk_norm": qk_norm,
            "inv_freq": 10000.0 ** (-np.arange(0, head_dim, 2, dtype=np.float64) / head_dim),
        }
    )
    rng = np.random.default_rng(seed)
    for name, weight in model.parameters().items():
        weight[...] = rng.normal(0.0, 0.25, weight.shape) + (1.0 if "norm" in name else 0.0)
    return model
