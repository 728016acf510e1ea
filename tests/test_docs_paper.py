"""docs/paper.md names code and tests that exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "paper.md").read_text(encoding="utf-8")
NAMES = sorted(set(re.findall(r"`((?:ptagrpo|tests)/[\w/]+\.py)::(\w+)`", PAGE)))
FILES = sorted(set(re.findall(r"`((?:ptagrpo|csrc|tests|configs)/[\w/.]+?)/?`", PAGE)))


@pytest.mark.parametrize("file, name", NAMES, ids=lambda value: value.rpartition("/")[2])
def test_a_named_function_exists(file, name):
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    assert name in {node.name for node in tree.body if isinstance(node, (ast.FunctionDef, ast.ClassDef))}


@pytest.mark.parametrize("file", FILES)
def test_a_named_file_exists(file):
    assert (ROOT / file).exists()


def test_every_equation_has_code_and_a_test():
    sections = re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:]
    equations = [section for section in sections if section.startswith(("Eq. ", "Eqs. "))]
    numbers = {int(n) for section in equations for n in re.findall(r"\d+", section.splitlines()[0].split(":")[0])}
    assert numbers == {1, 2, 3, 4, 6, 7, 8, 9, 10}
    for section in equations:
        assert re.search(r"`(ptagrpo|csrc)/", section) and "`tests/test_" in section, section.splitlines()[0]


def test_defaults_that_the_page_states_are_the_defaults():
    from ptagrpo import PTAGRPOConfig

    config = PTAGRPOConfig()
    assert (config.plan_reward_weight, config.plan_temperature) == (0.5, 0.3)
    assert (config.structure_reward, config.length_reward_weight, config.length_reward_on) == (0.2, 0.1, "all")
    assert (config.loss_type, config.beta, config.advantage_eps, config.std_correction) == ("dapo", 0.0, 0.0, 0)
