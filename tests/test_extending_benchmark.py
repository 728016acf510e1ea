"""A benchmark from outside of the package: the one that docs/extending.md writes, by its path and by an entry point."""

import io
import json
import re
import sys
import types
from pathlib import Path

import pytest

from ptagrpo import benchmarks
from ptagrpo.cli import main
from ptagrpo.errors import ConfigError
from ptagrpo.evaluation import run_eval

PAGE = Path(__file__).resolve().parent.parent / "docs" / "extending.md"


class Sees:
    """A policy that takes images and always answers A."""

    accepts_images = True
    tokenizer = types.SimpleNamespace(chat_template=None)

    def __init__(self):
        self.prompts = []

    def generate(self, prompts, *, n, keys, **settings):
        self.prompts += prompts
        return [[types.SimpleNamespace(text="A", token_ids=[1], finish_reason="eos")] * n for _ in prompts]


@pytest.fixture
def planets(tmp_path, monkeypatch):
    """The files of the page: the benchmark, its rows, and their images."""
    images = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
    monkeypatch.delenv("PTAGRPO_DATA", raising=False)
    page = PAGE.read_text(encoding="utf-8")
    (program,) = re.findall(r"```python\n(.*?)```", page.split("## A benchmark")[1].split("\n## ")[0], re.S)
    (rows,) = re.findall(r"```json\n(.*?)```", page.split("## A benchmark")[1].split("\n## ")[0], re.S)
    (tmp_path / "planets.py").write_text(program, encoding="utf-8")
    (tmp_path / "planets.jsonl").write_text(rows, encoding="utf-8")
    for name in ("mars", "saturn"):
        buffer = io.BytesIO()
        images.new("RGB", (4, 4)).save(buffer, "PNG")
        (tmp_path / f"{name}.png").write_bytes(buffer.getvalue())
    return tmp_path


def test_by_its_path(planets):
    policy = Sees()
    (result,) = run_eval(policy, [planets / "planets.py"], prompt_style="official", progress=False)
    assert result.name == "planets" and result.statuses["correct"] == 1 and result.statuses["wrong"] == 1
    assert set(result.group_by("kind")) == {"rock", "gas"}
    first = policy.prompts[0][0]["content"]
    assert [part["type"] for part in first] == ["text", "image", "text"]
    assert first[0]["text"] == "Which planet is " and first[2]["text"].endswith(
        "B. Venus\nAnswer with the letter only."
    )


def test_from_the_command_line(planets, capsys):
    answers = [{"id": "1", "response": "A"}, {"id": "2", "responses": [r"\boxed{B}", "Hm."]}]
    (planets / "answers.jsonl").write_text("".join(json.dumps(row) + "\n" for row in answers))
    command = ["eval", "--benchmark", planets / "planets.py", "--responses", planets / "answers.jsonl"]
    assert main([str(part) for part in [*command, "--output", planets / "graded.jsonl"]]) == 0
    assert "2 of 3 responses right, 2 questions; accuracy 75.0 %" in capsys.readouterr().out
    graded = [json.loads(line) for line in (planets / "graded.jsonl").read_text().splitlines()]
    assert graded[1] == {**answers[1], "extracted": ["B", None], "status": ["correct", "no_answer"]}


def install(folder, value, monkeypatch):
    """An installed package that declares `value` as the entry point planets."""
    info = folder / "space-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: space\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[ptagrpo.benchmarks]\nplanets = {value}\n")
    monkeypatch.syspath_prepend(folder)


def test_by_an_entry_point(planets, monkeypatch, capsys):
    install(planets, "planets", monkeypatch)
    monkeypatch.delitem(sys.modules, "planets", raising=False)
    try:
        assert "planets" in benchmarks.names() and benchmarks.find("planets").title == "Planets"
        (result,) = run_eval(Sees(), ["planets"], data_path=planets, progress=False)
        assert result.accuracy == 0.5
        assert main(["benchmarks", "--data_path", str(planets)]) == 0
        line = next(line for line in capsys.readouterr().out.splitlines() if "planets" in line)
        assert "CC0" in line and "someone/planets, test" in line and "at hand" in line
    finally:
        sys.modules.pop("planets", None)
    assert "planets" not in benchmarks.own_names()


@pytest.mark.parametrize("value", ["no_such_module_anywhere", "json", "json:loads"])
def test_an_entry_point_that_is_none_is_named(tmp_path, monkeypatch, value):
    install(tmp_path, value, monkeypatch)
    with pytest.raises(ConfigError, match=rf"entry point 'planets' of ptagrpo.benchmarks .{value}."):
        benchmarks.find("planets")


def test_files_that_are_no_benchmark_are_named(tmp_path):
    with pytest.raises(ConfigError, match="there is no file .*nothing.py"):
        benchmarks.find(str(tmp_path / "nothing.py"))
    for program, message in (
        ("SPEC = 3", "expected a module with SPEC = BenchmarkSpec"),
        ("import nowhere_at_all", "cannot be run: ModuleNotFoundError"),
        ("def (", "cannot be run: SyntaxError"),
    ):
        (tmp_path / "mine.py").write_text(program)
        with pytest.raises(ConfigError, match=rf"mine.py.*{message}"):
            benchmarks.load(tmp_path / "mine.py")
