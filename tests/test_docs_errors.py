"""docs/errors.md names every exception and quotes messages that the source still has."""

import re
from pathlib import Path

import pytest

from ptagrpo import errors

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
SOURCE = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "ptagrpo").rglob("*.py"))
SOURCE = re.sub(r'"\n\s*f?"', "", SOURCE)  # strings that are written in pieces
QUOTED = re.findall(r"^\| `([^`]+)` \|", PAGE.split("## Built-in exceptions")[0], flags=re.MULTILINE)


def test_every_exception_has_a_section():
    classes = {n for n, o in vars(errors).items() if isinstance(o, type) and issubclass(o, errors.PtagrpoError)}
    sections = set(re.findall(r"^## (\w+) \(", PAGE, flags=re.MULTILINE))
    assert sections == classes - {"PtagrpoError"}


@pytest.mark.parametrize("name, base", re.findall(r"^## (\w+) \(an? (\w+)\)", PAGE, flags=re.MULTILINE))
def test_it_is_also_the_exception_that_the_page_says(name, base):
    assert base in {cls.__name__ for cls in getattr(errors, name).__mro__}


@pytest.mark.parametrize("words", QUOTED)
def test_the_source_still_says_it(words):
    assert words in SOURCE
