"""A data set from outside of the package, by file and by entry point: the worked example of docs/extending.md."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

from ptagrpo.cli import main
from ptagrpo.data import all_formats, load_questions, load_traces
from ptagrpo.errors import ConfigError

PAGE = Path(__file__).resolve().parent.parent / "docs" / "extending.md"
ROWS = "question;solution;result\n3+4?;Count on from 3.;7\nHow many sides has a square?;One a corner.;4\n"


def example() -> str:
    """The Python file of the page."""
    section = PAGE.read_text(encoding="utf-8").split("## A data set\n")[1]
    return re.search(r"```python\n(.*?)```", section, re.DOTALL)[1]


@pytest.fixture
def quiz(tmp_path, monkeypatch):
    """The example's file and its data, in a folder that is the working folder."""
    (tmp_path / "quiz.py").write_text(example(), encoding="utf-8")
    (tmp_path / "quiz.csv").write_text(ROWS, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "quiz", raising=False)
    yield tmp_path
    sys.modules.pop("quiz", None)


@pytest.fixture
def installed(quiz, monkeypatch):
    """The example as an installed package: a distribution with an entry point on the path."""

    def install(value="quiz", name="quiz"):
        info = quiz / "quiz_rows-0.1.dist-info"
        info.mkdir(exist_ok=True)
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: quiz-rows\nVersion: 0.1\n")
        (info / "entry_points.txt").write_text(f"[ptagrpo.data]\n{name} = {value}\n")
        monkeypatch.syspath_prepend(str(quiz))

    return install


def check_loaded(questions, traces):
    assert [(q.prompt, q.answer) for q in questions] == [("3+4?", "7"), ("How many sides has a square?", "4")]
    assert [(t["think"], t["answer"], t["reference"]) for t in traces][0] == ("Count on from 3.", "7", "7")


def test_by_the_path_of_its_file(quiz):
    check_loaded(load_questions("quiz.py"), load_traces(str(quiz / "quiz.py")))
    [question] = load_questions([{"question": "1+1?", "result": "2"}], data_format="quiz.py:FORMAT")
    assert question.answer == "2"


def test_by_an_entry_point(installed):
    installed()
    assert "quiz" in all_formats()
    check_loaded(load_questions("quiz"), load_traces("quiz"))
    assert load_questions([{"question": "1+1?", "result": "2"}])[0].answer == "2"  # recognised by its columns
    assert load_questions([{"question": "1+1?", "answer": "2\n#### 2"}])[0].answer == "2"  # as are the others


def test_on_the_command_line(quiz, capsys):
    own = quiz / "own.jsonl"
    own.write_text(json.dumps({"id": "b", "question": "How many sides has a square?", "answer": "4"}) + "\n")
    assert main(["contamination", "quiz.py", "--against", str(own), "--no_progress"]) == 0
    assert "own: 1 training questions, touching 1 of its 1" in capsys.readouterr().out


def test_trained_on(quiz, tiny_policy):
    from ptagrpo import GRPOConfig, GRPOTrainer

    args = GRPOConfig(
        output_dir="run", num_generations=2, max_completion_length=4, max_steps=1, disable_tqdm=True
    )
    trainer = GRPOTrainer(model=tiny_policy(), args=args, train_dataset="quiz.py")
    assert trainer.train().global_step == 1


def test_what_is_wrong_with_it_is_told(quiz, installed):
    for name, text, told in (
        ("none.py", None, "there is no file none.py"),
        ("broken.py", "1 / 0", "cannot be run: ZeroDivisionError"),
        ("empty.py", "", "expected a ptagrpo.data.formats.RowFormat, got NoneType"),
        ("rowless.py", example().replace("rows=rows,", ""), "says how to read rows, not where they are"),
    ):
        if text is not None:
            (quiz / name).write_text(text)
        with pytest.raises(ConfigError, match=re.escape(told)):
            load_questions(name)
    for value, name, told in (
        ("quiz", "gsm8k", "a data format of that name exists already"),
        ("no_such_module", "x", "cannot be loaded: ModuleNotFoundError"),
        ("quiz:ROWS", "x", "expected a ptagrpo.data.formats.RowFormat, got"),
    ):
        (quiz / "quiz.py").write_text(example() + "\nROWS = []\n")
        installed(value, name)
        with pytest.raises(ConfigError, match=rf"entry point '{name}' of ptagrpo.data .*{told}"):
            load_questions([{"question": "1+1?", "answer": "2"}])
