"""Examples in docs/concepts.md and in docstrings of the package run, with the results that they show."""

import doctest
import importlib
import pkgutil
from pathlib import Path

import pytest

import ptagrpo

ROOT = Path(__file__).resolve().parent.parent
MODULES = sorted(
    name
    for _, name, _ in pkgutil.walk_packages(ptagrpo.__path__, "ptagrpo.")
    if ">>> " in (Path(importlib.util.find_spec(name).origin or "").read_text(encoding="utf-8")
                  if (importlib.util.find_spec(name).origin or "").endswith(".py") else "")
)  # fmt: skip


def test_concepts():
    failed, tried = doctest.testfile(str(ROOT / "docs" / "concepts.md"), module_relative=False, encoding="utf-8")
    assert tried > 12 and not failed


@pytest.mark.parametrize("name", MODULES)
def test_docstrings(name):
    failed, tried = doctest.testmod(importlib.import_module(name))
    assert tried and not failed
