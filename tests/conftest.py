"""Which ptagrpo is under test, and where real data lies."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def choose_package() -> None:
    """Test the tree when it has been built in place, the installed package otherwise.

    A tree without ptagrpo/_core*.so cannot be imported, but `python -m pytest` and subprocesses started in the
    repository root would find it before the installed package.
    """
    built_in_place = any(ROOT.glob("ptagrpo/_core*.so"))
    sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != ROOT]
    inherited = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    paths = [entry for entry in inherited if entry and Path(entry).resolve() != ROOT]
    if built_in_place:
        sys.path.insert(0, str(ROOT))
        paths.insert(0, str(ROOT))
    os.environ["PYTHONPATH"] = os.pathsep.join(paths)
    os.environ["PYTHONSAFEPATH"] = "1"  # Python 3.11+: `python -m` does not put the working directory first
    sys.path.append(str(ROOT / "tests" / "helpers"))


choose_package()


@pytest.fixture(scope="session")
def repository() -> Path:
    """The repository's root (of the tests; the package under test may be installed elsewhere)."""
    return ROOT


@pytest.fixture(scope="session")
def fixtures() -> Path:
    """Small files that belong to the tests."""
    return ROOT / "tests" / "fixtures"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data: $PTAGRPO_DATA, else ../shared/data beside the repository; skips where it is absent."""
    named = os.environ.get("PTAGRPO_DATA")
    folder = Path(named) if named else ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}: set PTAGRPO_DATA to the folder that holds maths/, traces/, checkpoints/")
    return folder
