"""Documentation that keeps its promises: links lead somewhere, commands are the ones that CI runs, options exist."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
TEXT = {".py", ".c", ".h", ".md", ".sh", ".toml", ".yaml", ".ipynb", ".json"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_relative_links_lead_to_files(page):
    for target in re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to {target}, which is not there"


def test_the_two_commands_are_the_ones_that_work():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "    pip install . && ptagrpo quickstart\n" in readme
    assert "    pip install '.[test]' && pytest\n" in readme
    ci = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert "pip install -q '.[test]'" in ci and "\npytest " in ci


def test_documented_settings_are_options_with_these_defaults():
    from ptagrpo import PTAGRPOConfig

    page = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    rows = re.findall(r"\| `(\w+) = ([^`]+)` \|", page)
    assert len(rows) >= 6
    config = PTAGRPOConfig().to_dict()
    for name, value in rows:
        assert config[name] == json.loads(value), name


def test_no_path_of_a_machine_is_in_the_tree():
    """Nothing refers to where it was written, or to where packages came from."""
    forbidden = re.compile(r"(?<![\w.])/work/(main|venv|shared)|\bpypi\.org\b|\bpythonhosted\b")
    folders = ["ptagrpo", "csrc", "tests", "bench", "docs", "notebooks", "tools", "configs", ".ci"]
    files = [file for folder in folders for file in (ROOT / folder).rglob("*") if file.suffix in TEXT]
    files += [ROOT / "README.md", ROOT / "setup.py", ROOT / "pyproject.toml", ROOT / ".ci" / "run"]
    for file in files:
        if file != Path(__file__).resolve():
            found = forbidden.search(file.read_text(encoding="utf-8"))
            assert not found, f"{file.relative_to(ROOT)}: {found and found[0]}"
