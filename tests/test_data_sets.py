"""The named training sets on rows of their published schemas, and where they are read from."""

from __future__ import annotations

import json
import sys
import types

import pytest

from ptagrpo.cli import main
from ptagrpo.data import all_formats, load_questions, load_traces, read_rows, read_traces
from ptagrpo.errors import ConfigError, DataError

THOUGHT = "<|begin_of_thought|>\n\nTwo and two.\n\n<|end_of_thought|>\n\n"
SETS = {
    "openthoughts": (
        {
            "system": "Think first.",
            "conversations": [
                {"from": "user", "value": "2+2?"},
                {
                    "from": "assistant",
                    "value": THOUGHT + "<|begin_of_solution|>\n\nSo \\boxed{4}.\n\n<|end_of_solution|>",
                },
            ],
        },
        ("open-thoughts/OpenThoughts-114k", None),
    ),
    "openthoughts3": (
        {
            "difficulty": None,
            "source": "some/source",
            "domain": "math",
            "conversations": [
                {"from": "human", "value": "2+2?"},
                {"from": "gpt", "value": "<think>\nTwo and two.\n</think>\n\nSo \\boxed{4}."},
            ],
        },
        ("open-thoughts/OpenThoughts3-1.2M", None),
    ),
    "deepmath": (
        {
            "question": "2+2?",
            "final_answer": "4",
            "difficulty": 3.5,
            "topic": "Mathematics -> Algebra",
            "r1_solution_1": "<think>\nTwo and two.\n</think>\n\nSo \\boxed{4}.",
            "r1_solution_2": "<think>\nCount.\n</think>\n\nSo \\boxed{5}.",
            "r1_solution_3": "<think>\nCount.\n</think>\n\nIt is large.",
        },
        ("zwhe99/DeepMath-103K", None),
    ),
    "gsm8k": (
        {"question": "2+2?", "answer": "Two and two is 2+2=<<2+2=4>>4.\n#### 4"},
        ("openai/gsm8k", "main"),
    ),
    "math_train": (
        {"problem": "2+2?", "level": "Level 1", "type": "Algebra", "solution": "Two and two: $\\boxed{4}$."},
        ("DigitalLearningGmbH/MATH-lighteval", None),
    ),
    "mmk12": (
        {
            "id": "7",
            "question": "2+2?",
            "answer": "4",
            "subject": "math",
            "image": {"bytes": b"x", "path": None},
        },
        ("FanqingM/MMK12", None),
    ),
}


class FakeDataset:
    """What `datasets` returns, as far as it is used here."""

    def __init__(self, rows):
        self.rows, self.taken = rows, 0
        self.features = {}

    def __iter__(self):
        for row in self.rows:
            self.taken += 1
            yield row


@pytest.fixture
def hub(monkeypatch):
    """A stand-in for the package `datasets`: `hub.rows[(repo, config)]`, and what it was asked for."""
    monkeypatch.delenv("PTAGRPO_DATA", raising=False)
    state = types.SimpleNamespace(rows={}, asked=[], last=None)

    def load_dataset(repo, config, split, **options):
        state.asked.append((repo, config, split, options))
        state.last = FakeDataset(state.rows[repo, config])
        return state.last

    monkeypatch.setitem(sys.modules, "datasets", types.SimpleNamespace(load_dataset=load_dataset))
    return state


@pytest.mark.parametrize("name", SETS)
def test_every_set_by_name_from_the_hub(hub, name):
    row, home = SETS[name]
    hub.rows[home] = [row]
    [question] = load_questions(name)
    assert (question.prompt, question.answer) == ("2+2?", "4")
    assert hub.asked == [(*home, "train", {})]
    assert all_formats()[name].detect(row)
    if name == "mmk12":
        assert question.images == [b"x"] and question.columns == {"answer": "4", "subject": "math"}
        with pytest.raises(ConfigError, match="no worked solutions"):
            load_traces(name)
    else:
        assert [t["answer"] for t in load_traces(name, per_question=1)] == ["4"]


def test_the_metadata_configuration_of_openthoughts(hub):
    row = {
        "problem": "2+2?",
        "deepseek_reasoning": "Two and two.",
        "deepseek_solution": "So \\boxed{4}.",
        "ground_truth_solution": "It is $\\boxed{4.0}$.",
        "domain": "math",
        "source": "x",
        "test_cases": None,
        "starter_code": None,
    }
    hub.rows["open-thoughts/OpenThoughts-114k", "metadata"] = [row, {**row, "ground_truth_solution": None}]
    first, second = load_traces("openthoughts", config="metadata")
    assert (first["think"], first["answer"], first["reference"]) == ("Two and two.", "4", "4.0")
    assert "reference" not in second
    assert [q.answer for q in load_questions("openthoughts", config="metadata")] == ["4.0", "4"]


def test_a_limit_reads_no_further_and_streams(hub):
    row, home = SETS["gsm8k"]
    hub.rows[home] = [row] * 1000
    assert len(load_questions("gsm8k", limit=3)) == 3
    assert hub.asked == [(*home, "train", {"streaming": True})] and hub.last.taken <= 4
    with pytest.raises(DataError, match="could not load split 'train' from the hub"):
        load_questions("org/unknown", limit=3)


def test_own_file_comes_before_the_hub(hub, tmp_path, monkeypatch):
    row, home = SETS["gsm8k"]
    hub.rows[home] = [row]
    (tmp_path / "maths").mkdir()
    (tmp_path / "maths" / "gsm8k_train.jsonl").write_text(json.dumps({**row, "question": "Mine?"}) + "\n")
    monkeypatch.setenv("PTAGRPO_DATA", str(tmp_path))
    assert load_questions("gsm8k")[0].prompt == "Mine?" and not hub.asked
    assert load_questions("gsm8k", split="test")[0].prompt == "2+2?"
    monkeypatch.setenv("PTAGRPO_DATA", str(tmp_path / "elsewhere"))
    assert load_questions("gsm8k")[0].prompt == "2+2?"


def test_a_local_copy_of_a_hub_repository(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    rows = [{"question": f"{k}?", "final_answer": str(k)} for k in range(7)]
    folder = tmp_path / "DeepMath-103K"
    for place, (first, last) in {"data": (0, 7), "other": (3, 5)}.items():
        (folder / place).mkdir(parents=True)
        part = rows[first:last]
        for shard, half in enumerate((part[:2], part[2:])):
            table = pyarrow.Table.from_pylist(half)
            parquet.write_table(table, folder / place / f"train-0000{shard}-of-00002.parquet")
    assert [q.answer for q in load_questions(folder)] == list("0123456")
    assert [q.answer for q in load_questions(str(folder), config="other")] == list("34")
    assert [q.id for q in load_questions(folder)] == list("0123456")
    assert [q.answer for q in load_questions(folder, limit=3)] == list("012")
    with pytest.raises(DataError, match="is a folder; name one of its files"):
        load_questions(folder, split="test")


def test_the_real_datasets_package(tmp_path):
    """A data set object, and a repository with pictures read by `datasets` itself."""
    datasets = pytest.importorskip("datasets", reason="needs the optional package datasets")
    from ptagrpo.data.hub import hub_rows

    rows = [{"q": "2+2?", "gold": 4, "level": 1}, {"q": "3+3?", "gold": 6, "level": 2}]
    data = datasets.Dataset.from_list(rows)
    questions = load_questions(data, columns={"prompt": "q", "answer": "gold"})
    assert [(q.prompt, q.answer, q.columns["level"]) for q in questions] == [
        ("2+2?", "4", 1),
        ("3+3?", "6", 2),
    ]
    with pytest.raises(DataError, match=r"data\['train'\]"):
        load_questions(datasets.DatasetDict({"train": data}))
    image = pytest.importorskip("PIL.Image").new("RGB", (3, 2), (9, 8, 7))
    features = datasets.Features(
        {name: datasets.Value("string") for name in ("id", "question", "answer", "subject")}
        | {"image": datasets.Image()}
    )
    row = {"id": "a", "question": "What?", "answer": "B", "subject": "physics", "image": image}
    (tmp_path / "data").mkdir()
    pictures = datasets.Dataset.from_list([row], features=features)
    pictures.to_parquet(tmp_path / "data" / "train-00000-of-00001.parquet")
    [read] = hub_rows(str(tmp_path), None, "train")
    assert read["image"]["bytes"].startswith(b"\x89PNG")
    [streamed] = hub_rows(str(tmp_path), None, "train", streamed=True)
    assert streamed["image"]["bytes"] == read["image"]["bytes"]
    [ours] = load_questions(tmp_path)  # the same file without `datasets`
    assert ours.images == [read["image"]["bytes"]] and ours.answer == "B"
    [decoded] = load_questions(pictures)  # a data set object gives Pillow images
    assert decoded.images[0].startswith(b"\x89PNG")


def test_what_is_left_out_is_counted_with_its_reason():
    row, _ = SETS["deepmath"]
    rows, skipped = read_traces([row])
    assert [(t["answer"], t["reference"]) for t in rows] == [("4", "4"), ("5", "4")]
    assert [s["reason"] for s in skipped] == ["the solution states no final answer"]
    cut_off = dict(SETS["openthoughts3"][0])
    cut_off["conversations"] = [
        cut_off["conversations"][0],
        {"from": "gpt", "value": "<think> and on and on"},
    ]
    rows, skipped = read_traces([SETS["openthoughts3"][0], cut_off])
    assert len(rows) == 1 and skipped[0]["id"] == "1" and skipped[0]["question"] == "2+2?"
    assert skipped[0]["reason"].startswith("the reply holds no thought")
    without = {"problem": "2+2?", "answer": "4", "level": 1}
    with pytest.raises(DataError, match="in 2 rows .*: 2 times: the row holds no worked solution"):
        read_traces([without, without])


def test_a_row_that_is_malformed_still_stops_the_reading():
    broken = {**SETS["openthoughts"][0], "conversations": [{"from": "user", "value": "2+2?"}]}
    with pytest.raises(DataError, match="row 2: expected 'conversations' to be a list of at least two turns"):
        read_traces([SETS["openthoughts"][0], broken])


def test_a_proof_is_a_question_without_an_answer():
    proof = {"problem": "Prove it.", "deepseek_reasoning": "Hm.", "deepseek_solution": "Done. " * 20}
    [question] = load_questions([proof])
    assert question.answer is None
    with pytest.raises(DataError, match="row 1: expected a reference answer"):
        load_questions([proof], require_answer=True)


def test_mapping_of_columns_in_a_config_file(tmp_path, capsys):
    (tmp_path / "rows.jsonl").write_text('{"q": "2+2?", "gold": 4, "answer": "no"}\n')
    config = tmp_path / "c.yaml"
    config.write_text("columns: {prompt: q, answer: gold}\nprogress: false\nagainst: own.jsonl\n")
    (tmp_path / "own.jsonl").write_text('{"id": "b", "question": "2 + 2 ?", "answer": "4"}\n')
    text = config.read_text().replace("own.jsonl", str(tmp_path / "own.jsonl"))
    config.write_text(text)
    assert main(["contamination", str(tmp_path / "rows.jsonl"), "--config", str(config)]) == 0
    assert "own: 1 training questions, touching 1 of its 1" in capsys.readouterr().out
    config.write_text("columns: {prompt: quest}\n")
    assert main(["contamination", str(tmp_path / "rows.jsonl"), "--config", str(config)]) == 2
    assert "column 'quest' (mapped to 'prompt') is not in the row" in capsys.readouterr().err


def test_mapping_of_columns_for_training(tmp_path, capsys):
    """`train` reads the mapping too; it gets as far as the missing model."""
    (tmp_path / "rows.jsonl").write_text('{"q": "2+2?", "gold": 4}\n')
    config = tmp_path / "c.yaml"
    config.write_text(
        f"columns:\n  prompt: q\n  answer: golt\ntrain_dataset: {tmp_path}/rows.jsonl\nmodel: none\noutput_dir: out\n"
    )
    assert main(["train", "--config", str(config)]) == 2
    assert "column 'golt' (mapped to 'answer')" in capsys.readouterr().err


def test_real_pictures_of_mmk12(shared_data):
    folder = shared_data / "multimodal" / "mmk12"
    rows = [row.values for row in read_rows(folder / "test_sample.jsonl")]
    pictures = {path.name.partition("_")[0]: path for path in (folder / "images").iterdir()}
    with_picture = [
        {
            "id": row["id"],
            "question": row["question"],
            "answer": row["gold"],
            "subject": row["subject"],
            "image": {"bytes": pictures[row["id"]].read_bytes(), "path": pictures[row["id"]].name},
        }
        for row in rows
        if row["id"] in pictures
    ]
    questions = load_questions(with_picture)
    assert len(questions) == 12 and all(q.answer in "ABCD" for q in questions)
    assert all(len(q.images) == 1 and q.images[0].startswith(b"\x89PNG") for q in questions)
    assert [q.prompt for q in questions] == [row["question"] for row in with_picture]


def test_pictures_in_one_s_own_rows(tmp_path):
    rows = [{"question": "<image 1>?", "answer": "1", "image": "a.png"}, {"question": "And?", "answer": "2"}]
    rows.append(
        {"question": "<image 2>?", "answer": "3", "images": ["b.png", {"bytes": None, "path": "/c.png"}]}
    )
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    questions = load_questions(path)
    assert questions[0].images == [str(tmp_path / "a.png")] and questions[1].images == []
    assert questions[2].images == [str(tmp_path / "b.png"), "/c.png"] and "images" not in questions[2].columns
    with pytest.raises(DataError, match="row 1: expected a picture in column 'image' .*got int"):
        load_questions([{**rows[0], "image": 7}])
    with pytest.raises(DataError, match="row 1: expected a picture in column 'image'"):
        load_questions([{**rows[0], "image": {"bytes": None, "path": None}}])
