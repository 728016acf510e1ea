"""docs/options.md is what tools/write_options.py writes."""

import importlib.util
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def test_the_page_of_options_is_up_to_date():
    spec = importlib.util.spec_from_file_location("write_options", ROOT / "tools" / "write_options.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.PAGE.read_text(encoding="utf-8") == module.page(), "run python tools/write_options.py"
