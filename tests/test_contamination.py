"""Contamination: n-gram overlap by hand, on the real sets, as a command, and before training."""

from __future__ import annotations

import json
import random
import sys
import time
import types

import pytest
from patience import patience

from ptagrpo import benchmarks
from ptagrpo.cli import main
from ptagrpo.data import check_contamination, effective_mode, load_questions, screen
from ptagrpo.data.ngrams import NgramIndex, shared_run, words_of
from ptagrpo.errors import ConfigError, DataError
from ptagrpo.records import Question

LONG = (
    "Every morning Aya goes for a walk of nine kilometers and stops at a coffee shop afterwards. "
    "How many minutes does the walk take her?"
)


def jsonl(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def own(tmp_path):
    """A benchmark file with a long and a short question."""
    rows = [
        {"id": "long", "question": LONG, "answer": "4"},
        {"id": "short", "question": "What is $2+2$?", "answer": "4"},
    ]
    return str(jsonl(tmp_path / "own.jsonl", rows))


# --- n-grams ---


@pytest.mark.parametrize(
    "text, same",
    [
        ("Let $x = 5$.", "let x=5"),
        ("$\\dfrac{1}{2}$ of it", "\\frac{1}{2} OF it"),
        ("$\\left(1, 2\\right)$", "(1,2)"),
        ("find\\quad $\\text{area}$", "Find area"),
        ("<image 1> What?", "what"),
        ("<image_2>What?", "what"),
        ("ｘ² and ½", "x2 and 1⁄2"),
        ("don't", "don t"),
    ],
)
def test_normalisation(text, same):
    assert words_of(text) == words_of(same)


@pytest.mark.parametrize(
    "text, other", [("x = 5", "x = 6"), ("\\leftarrow", "\\arrow"), ("\\textbook", "book")]
)
def test_normalisation_keeps_what_differs(text, other):
    assert words_of(text) != words_of(other)


@pytest.mark.parametrize("n", [1, 2, 3, 5, 13])
def test_the_index_agrees_with_a_search_pair_by_pair(n):
    draw = random.Random(n)
    texts = [
        " ".join(draw.choices("abcd" if n > 1 else "abcdefghijklmnop", k=draw.randint(1, 30)))
        for _ in range(60)
    ]
    index = NgramIndex(n)
    for text in texts[:30]:
        index.add(text)

    def runs(text):
        words = text.split()
        return {tuple(words[i : i + n]) for i in range(len(words) - n + 1)} or {tuple(words)}

    for text in texts[30:]:
        expected = {
            key: len(runs(text) & runs(other)) / len(runs(other))
            for key, other in enumerate(texts[:30])
            if runs(text) & runs(other)
        }
        found = index.find(text)
        assert {match.key: match.overlap for match in found} == pytest.approx(expected)
        assert [match.overlap for match in found] == sorted((m.overlap for m in found), reverse=True)


def test_the_longest_common_run():
    assert shared_run("x a b c d y a b z", "q a b c d r a b", 2) == "a b c d"
    assert shared_run("a b", "c d", 2) == "" and shared_run("a", "A!", 5) == "a"


# --- the report ---


def test_twelve_words_in_a_row_are_not_enough_and_thirteen_are(own):
    words = LONG.split()
    assert len(words_of(LONG)) == 25
    for count, found in ((12, False), (13, True)):
        report = check_contamination(
            [{"question": "So: " + " ".join(words[3 : 3 + count]) + " indeed"}], [own]
        )
        assert bool(report.overlaps) is found
    [overlap] = report.overlaps
    assert (overlap.row, overlap.benchmark, overlap.question_id, overlap.shared) == (0, "own", "long", 1)
    assert overlap.overlap == pytest.approx(1 / 13) and overlap.words == " ".join(
        words_of(" ".join(words[3:16]))
    )
    assert check_contamination([LONG], [own], min_overlap=0.5).rows == [0]
    assert check_contamination(["So: " + " ".join(words[3:16])], [own], min_overlap=0.5).rows == []
    assert check_contamination(["So: " + " ".join(words[3:11])], [own], n=8).rows == [0]


def test_short_questions_are_compared_as_wholes(own):
    texts = ["what is 2 + 2", "What is 2+2? And what is 3+3?", "what is 2 + 3", "", "?"]
    report = check_contamination(texts, [own])
    assert (
        report.rows == [0] and report.overlaps[0].question_id == "short" and report.overlaps[0].overlap == 1.0
    )


def test_every_kind_of_row_is_read(own):
    message = [
        {"role": "system", "content": LONG},
        {"role": "user", "content": [{"type": "text", "text": LONG}]},
    ]
    only_system = [{"role": "system", "content": LONG}, {"role": "user", "content": "Hello there"}]
    rows = [
        Question("q7", LONG, "4"),
        {"problem": LONG},
        {"messages": message},
        message,
        LONG,
        {"messages": only_system},
        {"other": LONG},
    ]
    report = check_contamination(rows, [own])
    assert report.rows == [0, 1, 2, 3, 4] and report.overlaps[0].id == "q7"


def test_a_benchmark_without_data_is_named_and_the_others_are_checked(own, tmp_path, monkeypatch):
    monkeypatch.delenv("PTAGRPO_DATA", raising=False)
    monkeypatch.setitem(sys.modules, "datasets", None)
    report = check_contamination([LONG], ["aime24", own])
    assert report.rows == [0] and list(report.checked) == ["own"] and list(report.unchecked) == ["aime24"]
    assert any(line.startswith("  aime24: not checked (") for line in report.lines())
    assert json.loads(json.dumps(report.to_dict()))["not_checked"].keys() == {"aime24"}
    with pytest.raises(ConfigError, match="Did you mean 'math500'"):
        check_contamination([LONG], ["math50"])
    with pytest.raises(ConfigError, match="n >= 1"):
        check_contamination([LONG], [own], n=0)


def test_a_hub_that_cannot_be_reached_is_asked_once(monkeypatch):
    asked = []

    def load_dataset(name, *_, **__):
        asked.append(name)
        raise ConnectionError("no network")

    monkeypatch.delenv("PTAGRPO_DATA", raising=False)
    monkeypatch.setitem(sys.modules, "datasets", types.SimpleNamespace(load_dataset=load_dataset))
    report = check_contamination([LONG], ["aime24", "amc23", "math500"])
    assert len(asked) == 1 and "no network" in report.unchecked["aime24"]
    assert report.unchecked["math500"] == "the hub cannot be reached, and its data is not here"


def test_all_benchmarks_of_the_registry_are_asked_for(monkeypatch):
    monkeypatch.delenv("PTAGRPO_DATA", raising=False)
    monkeypatch.setitem(sys.modules, "datasets", None)
    assert sorted(check_contamination([LONG]).unchecked) == benchmarks.names()


# --- the real sets ---


def test_a_benchmark_is_found_in_itself_whole(shared_data):
    questions = benchmarks.load("math500", shared_data).questions
    report = check_contamination(questions, ["math500"], data_path=shared_data)
    whole = {(o.row, o.question_id) for o in report.overlaps if o.overlap == 1.0}
    assert {(row, q.id) for row, q in enumerate(questions)} <= whole
    assert report.by_benchmark()["math500"]["found_in_training"] == 500


def test_the_counts_in_the_docs(shared_data):
    """`docs/data.md` says what these give."""
    names = ["aime24", "aime25", "amc23", "math500"]
    maths = load_questions(shared_data / "maths" / "math_train_problems.json")
    found = check_contamination(maths, names, data_path=shared_data)
    assert len(found.rows) == 192
    assert {name: tuple(counts.values())[1:] for name, counts in found.by_benchmark().items()} == {
        "aime24": (9, 67),
        "aime25": (11, 63),
        "amc23": (11, 10),
        "math500": (49, 153),
    }
    half = check_contamination(maths, names, min_overlap=0.5, data_path=shared_data)
    assert len(half.rows) == 20 and {o.benchmark for o in half.overlaps} == {"math500"}
    assert not any(o.overlap == 1.0 for o in half.overlaps)
    words = load_questions(shared_data / "maths" / "gsm8k_train.jsonl")
    assert not check_contamination(words, names, data_path=shared_data).overlaps


def test_a_hundred_thousand_questions_in_well_under_a_minute(shared_data):
    questions = load_questions(shared_data / "maths" / "math_train_problems.json") * 14
    begun = time.monotonic()
    report = check_contamination(questions, data_path=shared_data)
    assert report.questions > 100_000 and report.checked["math500"] == 500 and time.monotonic() - begun < patience(30)


# --- the command ---


def test_the_command(own, tmp_path, capsys):
    rows = [{"question": LONG, "answer": "1"}, {"question": "New?", "answer": "2", "more": [1]}]
    data = jsonl(tmp_path / "train.jsonl", rows)
    report, clean = tmp_path / "report.json", tmp_path / "clean.jsonl"
    arguments = ["contamination", str(data), "--against", own, "--output", str(report), "--clean", str(clean)]
    assert main(arguments) == 0
    told = capsys.readouterr()
    assert "1 of 2 training questions share 13 words in a row" in told.out
    assert "own: 1 training questions, touching 1 of its 2" in told.out
    assert "contamination: 100%" in told.err  # the bar
    written = json.loads(report.read_text())
    assert written["contaminated"] == 1 and written["overlaps"][0]["question_id"] == "long"
    assert [json.loads(line) for line in clean.read_text().splitlines()] == rows[1:]
    assert main([*arguments, "--no_progress", "--n", "40"]) == 0
    told = capsys.readouterr()
    assert "0 of 2" not in told.out and "contamination:" not in told.err  # the whole question is the same
    assert main(["contamination", str(data), "--against", "math5000"]) == 2
    assert "Did you mean 'math500'" in capsys.readouterr().err


# --- before training ---


def test_modes():
    assert effective_mode("auto", "gsm8k") == effective_mode("auto", "org/name") == "check"
    assert effective_mode("auto", "mine.jsonl") == effective_mode("auto", [{}]) == "off"
    assert effective_mode("drop", [{}]) == "drop" and effective_mode("off", "gsm8k") == "off"
    with pytest.raises(ConfigError, match="expected one of auto, check, drop, off"):
        effective_mode("on", "gsm8k")


@pytest.fixture
def aime(tmp_path, monkeypatch):
    """A data folder with an AIME of made-up questions, the only benchmark at hand."""
    monkeypatch.setitem(sys.modules, "datasets", None)
    (tmp_path / "data" / "maths").mkdir(parents=True)
    rows = [{"id": k, "problem": f"{LONG} Number {k}.", "answer": "033"} for k in range(30)]
    jsonl(tmp_path / "data" / "maths" / "aime24.jsonl", rows)
    monkeypatch.setenv("PTAGRPO_DATA", str(tmp_path / "data"))
    return rows


def test_screening(aime, tmp_path):
    rows = [{"question": "New?"}, {"question": LONG}]
    said: list[str] = []
    assert screen(rows, rows, "auto", folder=tmp_path / "a") == rows and not (tmp_path / "a").exists()
    assert screen(rows, rows, "check", folder=tmp_path / "b", say=said.append) == rows
    assert said[0].startswith("1 of 2 training questions") and any(
        "math500: not checked" in line for line in said
    )
    assert screen(rows, rows, "drop", folder=tmp_path / "c", say=said.append) == rows[:1]
    assert said[-1] == "  1 are left out"
    report = json.loads((tmp_path / "c" / "contamination.json").read_text())
    assert report["left_out"] == 1 and report["benchmarks"]["aime24"]["found_in_training"] == 30
    with pytest.raises(DataError, match="every row is contaminated"):
        screen(rows[1:], rows, "drop", folder=tmp_path / "d")


def hub_of(monkeypatch, rows):
    """A hub whose every data set has these rows; benchmarks are not there."""

    def load_dataset(name, config=None, split=None):
        if not name.startswith("org/"):
            raise RuntimeError("no network")
        return rows

    monkeypatch.setitem(sys.modules, "datasets", types.SimpleNamespace(load_dataset=load_dataset))


@pytest.mark.parametrize("mode, steps", [(None, 4), ("drop", 2), ("off", 4)])
def test_a_hub_set_is_compared_before_sft(aime, tmp_path, monkeypatch, capsys, tiny_policy, mode, steps):
    rows = [{"prompt": text, "completion": "4"} for text in ("New?", "Newer?", LONG, LONG + "!")]
    hub_of(monkeypatch, rows)
    tiny_policy().save_pretrained(tmp_path / "model")
    arguments = ["sft", "--model", str(tmp_path / "model"), "--train_dataset", "org/rows", "--output_dir"]
    arguments += [str(tmp_path / "run"), "--per_device_train_batch_size", "1", "--num_train_epochs", "1"]
    arguments += ["--save_strategy", "no"] + (["--contamination", mode] if mode else [])
    assert main(arguments) == 0
    out = capsys.readouterr().out
    report = tmp_path / "run" / "contamination.json"
    assert f"step {steps} of {steps}" in out
    assert report.exists() == (mode != "off") == ("2 of 4 training questions" in out)


def test_a_hub_set_is_compared_before_rl_in_python_too(aime, tmp_path, monkeypatch, tiny_policy):
    from ptagrpo import GRPOConfig, GRPOTrainer

    hub_of(monkeypatch, [{"question": text, "answer": "4"} for text in ("New?", LONG)])
    settings = {"output_dir": str(tmp_path / "run"), "num_generations": 2, "disable_tqdm": True}
    args = GRPOConfig(**settings, contamination="drop")
    trainer = GRPOTrainer(model=tiny_policy(), args=args, train_dataset="org/rows")
    assert [q.prompt for q in trainer._questions] == ["New?"]
    assert json.loads((tmp_path / "run" / "contamination.json").read_text())["left_out"] == 1


def test_one_s_own_rows_are_not_compared_unless_asked(aime, tmp_path, tiny_policy):
    from ptagrpo import GRPOConfig, GRPOTrainer

    rows = [{"question": LONG, "answer": "4"}]
    args = GRPOConfig(output_dir=str(tmp_path / "run"), num_generations=2, disable_tqdm=True)
    GRPOTrainer(model=tiny_policy(), args=args, train_dataset=rows)
    assert not (tmp_path / "run" / "contamination.json").exists()
    GRPOTrainer(model=tiny_policy(), args=args.replace(contamination="check"), train_dataset=rows)
    assert (tmp_path / "run" / "contamination.json").exists()
