"""The reward functions with TRL's names, and verl's scorers through the adapter."""

import asyncio
import math

import numpy as np
import pytest
from rl_helpers import TextJudge, flat

from ptagrpo import rewards
from ptagrpo.data import load_questions
from ptagrpo.errors import ConfigError, RewardError
from ptagrpo.rewards import RewardSettings, from_verl, score_groups

TRL_NAMES = [
    "accuracy_reward", "get_cosine_scaled_reward", "get_repetition_penalty_reward", "get_soft_overlong_punishment",
    "reasoning_accuracy_reward", "think_format_reward",
]  # fmt: skip
ONLY_FUNCTIONS = RewardSettings(
    outcome_reward=0, plan_reward_weight=0, structure_reward=0, length_reward_weight=0, reward_timeout=5.0
)


def test_every_builtin_of_trl_is_there_to_load_and_to_import():
    assert set(TRL_NAMES) <= set(rewards.names())
    for name in TRL_NAMES:
        assert callable(getattr(rewards, name)), name
        assert callable(rewards.load(name)), name


def test_the_list_of_names_is_what_an_installed_trl_has():
    trl = pytest.importorskip("trl.rewards")
    assert sorted(sum(trl._import_structure.values(), [])) == TRL_NAMES


def test_reasoning_accuracy_reads_only_what_follows_the_reasoning():
    completions = [
        "<think> 3 </think> \\boxed{4}",
        "<think> 4 </think> \\boxed{3}",
        "<think> \\boxed{4}",
        "<think> a </think> b </think> \\boxed{4}",
        "\\boxed{4}",
    ]
    golds = ["4", "4", "4", "4", None]
    assert rewards.reasoning_accuracy_reward(completions, golds) == [1.0, 0.0, 0.0, 1.0, None]
    marked = [[{"role": "assistant", "content": "thoughts ### \\boxed{4}"}]]
    assert rewards.reasoning_accuracy_reward(marked, ["4"], reasoning_delimiters=["###"]) == [1.0]


@pytest.mark.parametrize(
    "tokens, right, wrong", [(0, 1.0, -1.0), (50, 0.75, -0.75), (100, 0.5, -0.5), (250, 0.5, -0.5)]
)
def test_cosine_scaled_reward(tokens, right, wrong):
    reward = rewards.get_cosine_scaled_reward(max_len=100)
    got = reward(
        completions=["\\boxed{4}", "\\boxed{5}", "4"],
        solution=["4", "4", None],
        completion_ids=[[1] * tokens] * 3,
    )
    assert got[2] is None and np.allclose(got[:2], [right, wrong], atol=1e-12)


def test_repetition_penalty():
    reward = rewards.get_repetition_penalty_reward(ngram_size=2, max_penalty=-2.0)
    values = reward(completion_ids=[[1, 2, 3, 4], [5, 5, 5, 5, 5], [1], []])
    assert values == [0.0, -1.5, 0.0, 0.0] and not any(math.copysign(1, v) < 0 for v in values if v == 0)
    for wrong in ({"ngram_size": 0}, {"max_penalty": 0.5}):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            rewards.get_repetition_penalty_reward(**wrong)


# --- verl ---

VERL_ROW = {
    "data_source": "openai/gsm8k",
    "prompt": [{"role": "user", "content": "2 + 2?"}],
    "ability": "math",
    "reward_model": {"style": "rule", "ground_truth": "4"},
    "extra_info": {"index": 7},
}


def group_of(question, texts):
    group = flat(np.random.default_rng(0), "q", [3] * len(texts), texts=texts)
    group.question = question
    return group


def verl_question(tmp_path):
    """One question as verl stores it: through a parquet file where pyarrow is there, else as a row."""
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        return load_questions([VERL_ROW])[0]
    pq.write_table(pa.Table.from_pylist([VERL_ROW]), tmp_path / "train.parquet")
    return load_questions(str(tmp_path / "train.parquet"))[0]


def test_a_verl_scorer_gets_what_verl_gives_it(tmp_path):
    seen = []

    def compute_score(data_source, solution_str, ground_truth, extra_info=None):
        seen.append((data_source, solution_str, ground_truth, extra_info))
        return {
            "score": float(ground_truth in solution_str),
            "acc": ground_truth in solution_str,
            "note": "x",
        }

    question = verl_question(tmp_path)
    assert question.answer == "4"
    group = group_of(question, ["it is 4", "it is 5"])
    stats = score_groups([group], ONLY_FUNCTIONS, TextJudge(), [from_verl(compute_score)], None)
    assert seen == [("openai/gsm8k", f"it is {n}", "4", {"index": 7}) for n in (4, 5)]
    assert [response.rewards["compute_score"] for response in group.responses] == [1.0, 0.0]
    assert stats.extra["compute_score/note"] == ["x", "x"]
    assert stats.metrics["compute_score/acc"] == 0.5


def test_an_async_verl_scorer_with_fixed_arguments():
    async def compute_score(solution_str, ground_truth, scale, **kwargs):
        await asyncio.sleep(0)
        return scale * len(solution_str)

    question = load_questions([{"prompt": "p", "answer": "4"}])[0]
    group = group_of(question, ["a", "bcd"])
    score_groups([group], ONLY_FUNCTIONS, TextJudge(), [from_verl(compute_score, scale=2)], None)
    assert [response.reward for response in group.responses] == [2.0, 6.0]


def test_wrong_verl_scorers_are_refused():
    with pytest.raises(ConfigError, match=r"extra_info.*called as short\(data_source, solution_str"):

        def short(data_source, solution_str, ground_truth):
            return 0.0

        from_verl(short)
    with pytest.raises(ConfigError, match="expected a function, got 3"):
        from_verl(3)
    group = group_of(load_questions([{"prompt": "p", "answer": "4"}])[0], ["a", "b"])
    with pytest.raises(
        RewardError, match="response 0: expected a number or a mapping with 'score', got 'no'"
    ):
        score_groups([group], ONLY_FUNCTIONS, TextJudge(), [from_verl(lambda **columns: "no")], None)
