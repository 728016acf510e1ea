"""What pyproject.toml says about Python versions and systems agrees with itself."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
tomllib = pytest.importorskip("tomllib", reason="Python 3.11 or newer reads TOML")


@pytest.fixture(scope="module")
def settings():
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_wheels_are_built_for_the_python_versions_that_are_claimed(settings):
    claimed = {
        version[1]
        for line in settings["project"]["classifiers"]
        if (version := re.fullmatch(r"Programming Language :: Python :: (3\.\d+)", line))
    }
    built = {
        f"3.{minor}" for minor in re.findall(r"\bcp3(\d+)-\*", settings["tool"]["cibuildwheel"]["build"])
    }
    assert claimed == built
    least = settings["project"]["requires-python"].removeprefix(">=")
    assert least == min(claimed, key=lambda version: int(version.split(".")[1]))


def test_commands_of_the_wheel_tests_name_files_that_exist(settings):
    commands = settings["tool"]["cibuildwheel"]["test-command"]
    files = re.findall(r"\{project\}/(\S+)", " ".join(commands))
    assert files and all((ROOT / file).is_file() for file in files)


def test_the_sdist_leaves_out_what_a_build_leaves_in_the_tree():
    """An in-place build puts libraries and a licence into the package; none of it may travel in an sdist."""
    ignored = (ROOT / "MANIFEST.in").read_text(encoding="utf-8")
    setup = (ROOT / "setup.py").read_text(encoding="utf-8")
    [license_name] = re.findall(r'^BLAS_LICENSE = "(.+)"$', setup, re.M)
    for pattern in ("*.so", "*.so.*", "*.dylib", "*.new", license_name):
        assert re.search(rf"^global-exclude .*{re.escape(pattern)}(\s|$)", ignored, re.M), pattern


def test_class_variables_say_their_type():
    """Python 3.10 refuses to read the annotations of a class that has a plain ClassVar; later versions do not."""
    files = sorted((ROOT / "ptagrpo").rglob("*.py"))
    assert [
        str(file) for file in files if re.search(r": (typing\.)?ClassVar( =|$)", file.read_text(), re.M)
    ] == []
