"""docs/trl_options.md against TRL's dataclasses (where trl is installed, else their pinned names and defaults), and
against what our configuration classes do with each option.
"""

from __future__ import annotations

import ast
import dataclasses
import json
import re
from pathlib import Path

import pytest

from ptagrpo.errors import ConfigError
from ptagrpo.training import GRPOConfig, SFTConfig

ROOT = Path(__file__).resolve().parent.parent
PINNED = json.loads((ROOT / "tests" / "fixtures" / "trl_options.json").read_text(encoding="utf-8"))
LINE = re.compile(r"\| `(\w+)` \| (both|GRPO|SFT) \| `([^`]*)` \| (same|differs|refused) \| (.*) \|")
OURS = {"GRPO": GRPOConfig, "SFT": SFTConfig}


def read_table() -> dict[tuple[str, str], tuple[str, str, str]]:
    """(class, option) -> (TRL's default as text, here, note)."""
    table = {}
    for line in (ROOT / "docs" / "trl_options.md").read_text(encoding="utf-8").splitlines():
        match = LINE.fullmatch(line)
        if match:
            name, of, default, here, note = match.groups()
            for kind in ("GRPO", "SFT") if of == "both" else (of,):
                assert (kind, name) not in table, f"{kind}Config.{name} is in the table twice"
                table[kind, name] = default, here, note
    return table


def installed(module) -> dict:
    """Names and defaults of TRL's dataclasses."""
    found = {"trl": module.__version__}
    for kind in ("GRPOConfig", "SFTConfig"):
        found[kind] = {}
        for field in dataclasses.fields(getattr(module, kind)):
            made = field.default_factory is not dataclasses.MISSING
            value = field.default_factory() if made else field.default
            value = None if value is dataclasses.MISSING else value
            found[kind][field.name] = getattr(value, "value", value)
    return found


def trl_options() -> dict:
    try:
        import trl
    except ImportError:
        return PINNED
    return installed(trl)


TABLE = read_table()
OPTIONS = {(kind, name): value for kind in OURS for name, value in trl_options()[f"{kind}Config"].items()}


def test_every_option_of_trl_is_in_the_table_and_nothing_else():
    assert len(OPTIONS) > 250
    missing, stale = sorted(OPTIONS.keys() - TABLE.keys()), sorted(TABLE.keys() - OPTIONS.keys())
    assert not missing, f"docs/trl_options.md lacks {missing}"
    assert not stale, f"docs/trl_options.md has options that TRL has not: {stale}"


def test_the_pinned_options_are_those_of_that_version():
    trl = pytest.importorskip("trl")
    if trl.__version__ == PINNED["trl"]:
        assert installed(trl) == PINNED


def default_here(config, name):
    """The default of an option; None where it is derived from others."""
    field = config.options()[name]
    return None if field.default is None else getattr(config(), name)


def accepts(config, name, value) -> bool:
    try:
        config(**{name: value})
    except ConfigError as error:
        if name not in str(error):
            raise
        return False
    return True


def any_value(entry) -> bool:
    """Whether both values of a truth value are accepted, because neither has an effect."""
    return all(value in entry.neutral for value in (True, False))


def problem(kind: str, name: str, default, line: tuple[str, str, str]) -> str | None:
    """What a line of the table gets wrong, if anything."""
    config = OURS[kind]
    written, here, note = line
    entry = config._not_yet.get(name)
    if ast.literal_eval(written) != default:
        return f"TRL's default is {default!r}, the table says {written}"
    if here == "refused":
        if name in config.options() or entry is None:
            return "is not refused by name"
        if any_value(entry):
            return "any value is accepted"
        if not note.startswith(entry.reason):
            return f"the reason is {entry.reason!r}"
        if accepts(config, name, "no such value") or accepts(config, name, object()):
            return "other values are accepted"
        if accepts(config, name, default) == note.endswith("TRL's default too"):
            return "whether TRL's default is accepted is told wrongly"
        return None
    if name not in config.options():
        if here != "differs" or entry is None or not any_value(entry):
            return "is not an option here"
        return None if note == f"without effect: {entry.reason}" else f"the reason is {entry.reason!r}"
    ours = default_here(config, name)
    if not accepts(config, name, default) and f"`{default!r}` is refused" not in note:
        return "TRL's default is refused"
    if here == "same":
        return None if ours == default and not note else f"the default here is {ours!r}"
    if (ours == default) == note.startswith("here `") or not note:
        return f"how it differs is not told; the default here is {ours!r}"
    if ours != default and not note.startswith(f"here `{ours!r}`"):
        return f"the default here is {ours!r}"
    return None


@pytest.mark.parametrize("kind, name", sorted(OPTIONS.keys() & TABLE.keys()), ids=lambda value: value)
def test_a_line_says_what_the_configuration_does(kind, name):
    found = problem(kind, name, OPTIONS[kind, name], TABLE[kind, name])
    assert found is None, f"docs/trl_options.md: {kind}Config.{name}: {found}"


@pytest.mark.parametrize("name, line", [
    ("learning_rate", ("1e-06", "refused", "too slow")),
    ("learning_rate", ("1e-05", "same", "")),
    ("learning_rate", ("1e-06", "differs", "")),
    ("loss_type", ("'dapo'", "same", "")),
    ("loss_type", ("'dapo'", "differs", "here `'sum'`")),
    ("use_vllm", ("False", "same", "")),
    ("use_vllm", ("False", "refused", "another reason")),
    ("use_vllm", ("False", "refused", "sampling is built in; TRL's default too")),
    ("use_cpu", ("False", "refused", GRPOConfig._not_yet["use_cpu"].reason)),
])  # fmt: skip
def test_a_line_that_is_wrong_is_found(name, line):
    assert problem("GRPO", name, PINNED["GRPOConfig"][name], line)


def test_older_spellings_of_trl():
    assert [GRPOConfig(scale_rewards=value).scale_rewards for value in (True, False)] == ["group", "none"]
    assert SFTConfig(lr_scheduler_kwargs=None).lr_scheduler_kwargs == {}
    assert GRPOConfig(min_p=None).min_p == 0.0
