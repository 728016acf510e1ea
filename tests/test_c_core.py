"""Pool and team without Python (tests/c_core), with the futex of Linux and with what other systems use."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
COMPILER = os.environ.get("CC", "cc")


@pytest.mark.skipif(shutil.which(COMPILER) is None, reason="no C compiler")
@pytest.mark.parametrize("flags", [[], ["-DPTA_NO_FUTEX"]], ids=["futex", "condition"])
def test_teams_wait_asleep_and_survive_a_fork(flags, tmp_path):
    sources = [
        *map(str, sorted((ROOT / "csrc" / "core").glob("*.c"))),
        str(ROOT / "tests" / "c_core" / "teams.c"),
    ]
    program = tmp_path / "teams"
    options = ["-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-pthread", *flags]
    built = subprocess.run(
        [COMPILER, *options, *sources, "-lm", "-o", program], capture_output=True, text=True
    )
    assert built.returncode == 0, built.stderr
    done = subprocess.run([program], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and done.stdout == "0 failures\n", done.stdout + done.stderr
