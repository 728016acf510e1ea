"""evaluate: figures, files, and runs that go on where they stopped, byte for byte."""

import json
import types

import numpy as np
import pytest

from ptagrpo import rng
from ptagrpo.answers import Judge
from ptagrpo.errors import ConfigError, DataError, ResumeError
from ptagrpo.evaluation import evaluate, make_prompt, pass_at_k, run_eval
from ptagrpo.records import Question


class Stopped(Exception):
    """The test's own interruption."""


class FakePolicy:
    """Answers right with a chance of 1/2 that depends on its key alone; may stop after so many samples."""

    def __init__(self, stop_after=None):
        self.tokenizer = types.SimpleNamespace(chat_template=None)
        self.calls, self.samples, self.stop_after = [], 0, stop_after

    def generate(self, prompts, *, n, keys, **settings):
        assert keys.dtype == np.uint64 and len(keys) == n * len(prompts)
        self.calls.append({"prompts": prompts, "n": n, **settings})
        if self.stop_after is not None and self.samples + len(keys) > self.stop_after:
            raise Stopped
        self.samples += len(keys)
        return [
            [self._answer(prompt, int(keys[i * n + j])) for j in range(n)] for i, prompt in enumerate(prompts)
        ]

    @staticmethod
    def _answer(prompt, key):
        number = int(prompt.split("+")[0]) + 1
        kinds = [rf"\boxed{{{number}}}", rf"\boxed{{{number}.0}}", rf"\boxed{{{number + 1}}}", "No idea."]
        text = f"{kinds[key % 4]} ({key})"
        return types.SimpleNamespace(
            text=text, token_ids=np.arange(1 + key % 7), finish_reason="eos" if key % 3 else "length"
        )


def questions(count=6):
    return [
        Question(f"q{n}", f"{n}+1", str(n + 1), {"level": n % 2, "gold_plan": "add"}) for n in range(count)
    ]


def run(folder=None, policy=None, count=6, **settings):
    settings = {"k": 5, "progress": False, "batch_size": 4, "prompt_style": "raw", **settings}
    return evaluate(policy or FakePolicy(), questions(count), output_dir=folder, **settings)


def test_rows_and_figures_are_those_of_the_samples(tmp_path):
    result = run(tmp_path)
    assert [(row["id"], row["sample"]) for row in result.rows] == [
        (f"q{n}", s) for n in range(6) for s in range(5)
    ]
    right = {f"q{n}": 0 for n in range(6)}
    for row in result.rows:
        key = rng.key(0, "eval", row["id"], row["sample"])
        assert row["response"].endswith(f"({key})")
        assert row["status"] == ["correct", "correct", "wrong", "no_answer"][key % 4]
        assert row["tokens"] == 1 + key % 7
        right[row["id"]] += key % 4 < 2
    assert result.accuracy == pytest.approx(np.mean([count / 5 for count in right.values()]))
    for k in range(1, 6):
        assert result.pass_at(k).mean == pytest.approx(np.mean([pass_at_k(5, c, k) for c in right.values()]))
    assert sum(result.statuses.values()) == 30
    assert result.interval.low <= result.accuracy <= result.interval.high
    levels = result.group_by("level")
    assert levels["0"].mean == pytest.approx(np.mean([right[f"q{n}"] / 5 for n in (0, 2, 4)]))
    with pytest.raises(ValueError, match="there are gold_plan, level"):
        result.group_by("subject")

    assert [json.loads(line) for line in (tmp_path / "samples.jsonl").read_text().splitlines()] == result.rows
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary == json.loads(json.dumps(result.summary()))
    assert summary["accuracy"] == result.accuracy and set(summary["pass_at"]) == {"1", "2", "4", "5"}
    text = result.report()
    assert "questions" in text and f"{100 * result.accuracy:.1f} [" in text


def test_majority_votes_over_normalised_answers():
    result = run(k=7)
    expected = []
    for rows in result.by_question().values():
        votes = [row["extracted"] and float(row["extracted"]) for row in rows]
        counts = {vote: votes.count(vote) for vote in votes if vote is not None}
        best = [vote for vote, count in counts.items() if count == max(counts.values())]
        expected.append((float(rows[0]["answer"]) in best) / len(best) if best else 0.0)
    assert result.maj().mean == pytest.approx(np.mean(expected))


@pytest.mark.parametrize("batch_size", [1, 3, 5, 7, 100])
def test_batches_change_no_byte(tmp_path, batch_size):
    run(tmp_path / "a", batch_size=4)
    run(tmp_path / "b", batch_size=batch_size)
    assert (tmp_path / "a/samples.jsonl").read_bytes() == (tmp_path / "b/samples.jsonl").read_bytes()


@pytest.mark.parametrize("stop_after", [0, 4, 9, 13, 22, 29])
def test_a_stopped_run_goes_on_to_the_same_bytes(tmp_path, stop_after):
    run(tmp_path / "whole")
    with pytest.raises(Stopped):
        run(tmp_path / "parts", FakePolicy(stop_after))
    done = len((tmp_path / "parts/samples.jsonl").read_text().splitlines()) if stop_after >= 4 else 0
    assert not (tmp_path / "parts/summary.json").exists()
    policy = FakePolicy()
    result = run(tmp_path / "parts", policy, batch_size=5)
    assert policy.samples == 30 - done
    for name in ("samples.jsonl", "settings.json", "summary.json"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "parts" / name).read_bytes()
    assert result.accuracy == run().accuracy


def test_every_cut_of_the_samples_file_is_repaired(tmp_path):
    """A kill may leave any prefix of the file: whole rows stay, a broken last one is made again."""
    run(tmp_path, count=2, k=2)
    whole = (tmp_path / "samples.jsonl").read_bytes()
    for cut in [0, 1, *range(7, len(whole), 41), len(whole) - 1]:
        (tmp_path / "samples.jsonl").write_bytes(whole[:cut])
        policy = FakePolicy()
        run(tmp_path, policy, count=2, k=2)
        assert (tmp_path / "samples.jsonl").read_bytes() == whole
        assert policy.samples == 4 - whole[:cut].count(b"\n")


def test_a_finished_run_samples_nothing_again(tmp_path):
    run(tmp_path)
    policy = FakePolicy()
    assert run(tmp_path, policy).accuracy == run().accuracy
    assert policy.samples == 0


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"seed": 1}, "seed: 0 there, 1 now"),
        ({"temperature": 1.0}, "temperature: 0.6 there, 1.0 now"),
        ({"k": 6}, "k: 5 there, 6 now"),
        ({"max_new_tokens": 9}, "max_new_tokens"),
        ({"prompt_style": "cot"}, "prompt_style: 'raw' there, 'cot' now"),
        ({"count": 5}, "questions: "),
        ({"kind": "exact"}, "kind"),
    ],
)
def test_other_settings_are_refused_by_name(tmp_path, change, named):
    run(tmp_path)
    before = (tmp_path / "samples.jsonl").read_bytes()
    with pytest.raises(ResumeError, match=named):
        run(tmp_path, **change)
    assert (tmp_path / "samples.jsonl").read_bytes() == before


def test_foreign_or_disordered_rows_are_refused(tmp_path):
    run(tmp_path)
    path = tmp_path / "samples.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([lines[1], lines[0], *lines[2:]]))
    with pytest.raises(
        ResumeError, match="samples.jsonl:1: found question 'q0', sample 1, expected question 'q0', sample 0"
    ):
        run(tmp_path)
    path.write_text("".join([*lines, lines[0]]))
    with pytest.raises(ResumeError, match="samples.jsonl:31: .*expected no further row"):
        run(tmp_path)
    path.write_text("".join([lines[0], "{broken\n", *lines[2:]]))
    with pytest.raises(DataError, match="samples.jsonl:2: not a JSON line"):
        run(tmp_path)
    (tmp_path / "settings.json").unlink()
    with pytest.raises(ResumeError, match="no settings.json"):
        run(tmp_path)


def test_bad_arguments_are_refused_before_anything_is_sampled(tmp_path):
    policy = FakePolicy()
    for settings, kind, message in (
        ({"k": 0}, ConfigError, "k is 0"),
        ({"limit": 0}, ConfigError, "limit is 0"),
        ({"prompt_style": "plam"}, ConfigError, "Did you mean 'plan'"),
        ({"count": 0}, DataError, "no questions"),
    ):
        with pytest.raises(kind, match=message):
            run(tmp_path / "new", policy, **settings)
    twice = [Question("a", "1+1", "2"), Question("a", "2+1", "3")]
    with pytest.raises(DataError, match="question 1 has the id 'a' of an earlier one"):
        evaluate(policy, twice, progress=False)
    with pytest.raises(DataError, match="question 0 .id 'b'. has no reference answer"):
        evaluate(policy, [Question("b", "1+1")], progress=False)
    assert policy.calls == [] and not (tmp_path / "new").exists()


def test_a_judge_that_is_given_stays_open_and_kind_exact_needs_none():
    with Judge() as judge:
        run(judge=judge, kind="exact")
        judge.judge([(r"\boxed{\sqrt8}", r"2\sqrt2")])
        pids = judge.worker_pids
        run(judge=judge)
        assert judge.worker_pids == pids


def test_sampling_settings_reach_generate():
    policy = FakePolicy()
    run(
        policy=policy,
        temperature=0.0,
        top_p=0.5,
        top_k=3,
        min_p=0.1,
        max_new_tokens=17,
        stop=["</answer>"],
        limit=2,
    )
    call = policy.calls[0]
    assert (call["temperature"], call["top_p"], call["top_k"], call["min_p"]) == (0.0, 0.5, 3, 0.1)
    assert call["max_new_tokens"] == 17 and call["stop"] == ["</answer>"] and policy.samples == 10


def test_prompts_of_each_style(byte_tokenizer):
    question = Question("q", "1+1", "2")
    plain, chat = byte_tokenizer(chat_template=None), byte_tokenizer()
    assert make_prompt(question, plain, "raw") == "1+1"
    assert "<plan>" in make_prompt(question, plain, "plan")
    official = make_prompt(question, plain, "official")
    assert official.startswith("1+1\nPlease reason step by step") and "<plan>" not in official
    rendered = make_prompt(question, chat, "official")
    assert (
        rendered.index("<|system|>Please reason")
        < rendered.index("<|user|>1+1")
        < rendered.index("<|assistant|>")
    )


def test_several_benchmarks_share_one_judge_and_get_a_folder_each(tmp_path):
    for name in ("one", "two"):
        rows = [{"id": n, "problem": f"{n}+1", "answer": n + 1} for n in range(3)]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    files = [tmp_path / "one.jsonl", tmp_path / "two.jsonl"]
    results = run_eval(
        FakePolicy(), files, output_dir=tmp_path / "out", k=2, progress=False, prompt_style="raw"
    )
    assert [result.name for result in results] == ["one", "two"]
    assert all((tmp_path / "out" / name / "summary.json").exists() for name in ("one", "two"))
    with pytest.raises(ConfigError, match="different benchmarks, got one, one"):
        run_eval(FakePolicy(), [files[0], files[0]])
    with pytest.raises(ConfigError, match="got none"):
        run_eval(FakePolicy(), [])


def test_all_four_benchmarks_with_a_fake_policy(shared_data, tmp_path):
    class Empty(FakePolicy):
        @staticmethod
        def _answer(prompt, key):
            return types.SimpleNamespace(text=r"\boxed{27}", token_ids=[0], finish_reason="eos")

    results = run_eval(
        Empty(), ["math500", "aime24", "aime25", "amc23"], data_path=shared_data, output_dir=tmp_path,
        prompt_style="official", progress=False,
    )  # fmt: skip
    assert [len(result.rows) for result in results] == [500, 30, 30, 40]
    assert set(results[0].summary()["groups"]) == {"subject", "level"}
    for result in results:
        golds = [row["answer"] for row in result.rows]
        assert result.statuses["correct"] == golds.count("27") and result.statuses["error"] == 0


def test_a_real_policy_resumes_to_the_same_bytes(tmp_path, tiny_policy):
    policy = tiny_policy()
    settings = {
        "k": 3,
        "max_new_tokens": 8,
        "progress": False,
        "batch_size": 4,
        "temperature": 1.0,
        "top_p": 1.0,
    }
    result = evaluate(policy, questions(3), output_dir=tmp_path / "a", **settings)
    assert len(result.rows) == 9 and all(1 <= row["tokens"] <= 8 for row in result.rows)
    whole = (tmp_path / "a/samples.jsonl").read_bytes()
    assert len({row["response"] for row in result.rows}) > 1
    for cut in (1, 2, 5, 8):
        (tmp_path / "a/samples.jsonl").write_bytes(b"".join(whole.splitlines(keepends=True)[:cut]))
        evaluate(policy, questions(3), output_dir=tmp_path / "a", **settings)
        assert (tmp_path / "a/samples.jsonl").read_bytes() == whole
    with pytest.raises(ResumeError, match="weights: "):
        evaluate(tiny_policy(seed=1), questions(3), output_dir=tmp_path / "a", **settings)
