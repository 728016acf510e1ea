"""Write docs/options.md from the configuration classes: every option with its default, meaning and limits.

    python tools/write_options.py            run it after an option has changed; tests/test_docs_options.py compares
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import ptagrpo

PAGE = Path(__file__).resolve().parent.parent / "docs" / "options.md"
HEAD = """# All options

Written by `tools/write_options.py` from the classes themselves. Every option is a keyword of its class, a key of the
YAML file and a flag of the command (`--learning_rate 1e-5`). An option that does not exist is refused.
Options marked *free* may differ when a run is resumed; all others decide what is computed and must stay. What becomes
of TRL's options: [table](trl_options.md). What the paper leaves open: [settings](settings.md).
"""
CLASSES = (
    ("PTAGRPOConfig", "Stage 2, `PTAGRPOTrainer` and `ptagrpo train`. Bold: the default differs from `GRPOConfig`'s."),
    ("SFTConfig", "Stage 1, `SFTTrainer` and `ptagrpo sft`."),
)


def limits(metadata) -> str:
    """What values are allowed, in symbols."""
    if metadata["choices"]:
        return " · ".join(f"`{choice}`" for choice in metadata["choices"])
    signs = (("at_least", "≥"), ("above", ">"), ("at_most", "≤"), ("below", "<"))
    return ", ".join(f"{sign} {metadata[name]:g}" for name, sign in signs if metadata[name] is not None)


def default_of(field) -> object:
    return field.default_factory() if field.default is dataclasses.MISSING else field.default


def table(name: str, base: dict[str, object]) -> list[str]:
    rows = ["| option | default | meaning | allowed |", "|---|---|---|---|"]
    for field in dataclasses.fields(getattr(ptagrpo, name)):
        if not field.init or "doc" not in field.metadata:
            continue
        default = default_of(field)
        shown = f"`{default!r}`" if not isinstance(default, str) else f"`{default}`"
        if field.name in base and base[field.name] != default:
            shown = f"**{shown}**"
        doc = " ".join(field.metadata["doc"].split()).replace("|", "\\|")
        free = "" if field.metadata.get("trajectory", True) else " *(free)*"
        rows.append(f"| `{field.name}` | {shown} | {doc}{free} | {limits(field.metadata)} |")
    return rows


def page() -> str:
    grpo = {field.name: default_of(field) for field in dataclasses.fields(ptagrpo.GRPOConfig)}
    lines = [HEAD]
    for name, what in CLASSES:
        lines += [f"## {name}", "", what, "", *table(name, grpo if name == "PTAGRPOConfig" else {}), ""]
    return "\n".join(lines)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
