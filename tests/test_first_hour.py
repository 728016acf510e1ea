"""docs/first_hour.md, line by line: every command runs as it stands (the quickstart with --quick) and leaves what the
page says."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "first_hour.md").read_text(encoding="utf-8")
COMMANDS = [line for block in re.findall(r"^```sh\n(.*?)^```", PAGE, re.M | re.S) for line in block.splitlines()]


@pytest.fixture(scope="module")
def shell(tmp_path_factory):
    """A folder with the checkout's examples in it, and `ptagrpo` and `python` that are those under test."""
    folder = tmp_path_factory.mktemp("hour")
    (folder / "examples").symlink_to(ROOT / "examples")
    (folder / "bin").mkdir()
    for name, words in (("python", '"$@"'), ("ptagrpo", '-m ptagrpo "$@"')):
        script = folder / "bin" / name
        script.write_text(f'#!/bin/sh\nexec "{sys.executable}" {words}\n', encoding="utf-8")
        script.chmod(script.stat().st_mode | stat.S_IXUSR)
    environment = {
        **os.environ,
        "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
    }

    def run(line: str) -> subprocess.CompletedProcess:
        done = subprocess.run(["bash", "-c", line], cwd=folder, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
        return done

    return folder, run


def test_it_is_as_short_as_it_says():
    assert len(COMMANDS) == 9 and COMMANDS[0] == "pip install ."
    assert "nine commands" in PAGE


def test_the_lines_run_and_leave_what_the_page_says(shell):
    folder, run = shell
    for line in COMMANDS[1:]:
        run(line + " --quick" if line.startswith("ptagrpo quickstart") else line)
    hour = folder / "hour"
    for name in ("before", "after"):
        summary = next((hour / name).rglob("summary.json"))
        assert json.loads(summary.read_text(encoding="utf-8"))["questions"] == 300
    for name in ("cold", "rl"):
        assert (hour / name / "adapter_model.safetensors").exists(), name
    assert "<html" in (hour / "rl" / "view.html").read_text(encoding="utf-8")
    results = json.loads((hour / "study" / "results.json").read_text(encoding="utf-8"))
    assert set(results["variants"]) == {"start", "pta_grpo", "grpo"}
    assert len(list((hour / "study" / "cells").glob("*grpo/seed-*/result.json"))) == 4
