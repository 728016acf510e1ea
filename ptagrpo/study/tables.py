"""A study as tables: for the terminal (rich) and as Markdown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .analysis import verdict


def variant_rows(numbers: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Heads and rows: accuracy with its interval, by seed, and what it cost."""
    head = ["variant", "accuracy % (95 %)", "by seed", "tokens", "responses", "k tokens", "seconds"]
    rows = []
    for name, entry in numbers["variants"].items():
        spent = entry["spent"]
        rows.append([
            name,
            _interval(entry["accuracy"], ".1f"),
            " ".join(f"{100 * value:.0f}" for value in entry["by_seed"]),
            f"{entry['mean_tokens']:.0f}",
            f"{spent['responses']:.0f}",
            f"{spent['tokens'] / 1000:.0f}",
            f"{spent['seconds']:.0f}",
        ])  # fmt: skip
    return head, rows


def comparison_rows(numbers: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Heads and rows: differences in points, tests, and what could have been seen."""
    head = ["difference", "points (95 %)", "p", "p Holm", "p seeds", "McNemar", "detectable"]
    rows = []
    for entry in numbers["comparisons"]:
        rows.append([
            f"{entry['a']} − {entry['b']}",
            _interval(entry["difference"], "+.1f"),
            _p(entry["p_questions"]),
            _p(entry["p_holm"]),
            _p(entry["p_seeds"]),
            _mcnemar(entry["mcnemar"]),
            f"{100 * entry['detectable']:.1f}",
        ])  # fmt: skip
    return head, rows


def verdicts(numbers: Mapping[str, Any]) -> list[str]:
    """Each comparison in a sentence."""
    return [f"{entry['a']} and {entry['b']}: {verdict(entry)}" for entry in numbers["comparisons"]]


def _interval(estimate: Mapping[str, float], form: str) -> str:
    return " ".join([
        format(100 * estimate["mean"], form),
        f"({format(100 * estimate['low'], form)} to {format(100 * estimate['high'], form)})",
    ])  # fmt: skip


def _p(value: float) -> str:
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def _mcnemar(found: Mapping[str, Any]) -> str:
    """ "+2 −0 of 5": seeds in which a (b) is ahead beyond chance."""
    triples = list(zip(found["only_a"], found["only_b"], found["p_holm"], strict=True))
    ahead = sum(p <= 0.05 and x > y for x, y, p in triples)
    behind = sum(p <= 0.05 and x < y for x, y, p in triples)
    return f"+{ahead} −{behind} of {len(triples)}"


def note(numbers: Mapping[str, Any]) -> str:
    """How to read the tables."""
    first = next(iter(numbers["variants"].values()))["accuracy"]
    return (
        f"Mean over {first['seeds']} seeds and {first['questions']:.0f} held-out questions, the same for all; "
        "intervals by a bootstrap over both. p: sign-flip test over questions; p Holm: corrected for all "
        "rows; p seeds: the same over seeds, never below 2 / 2^seeds. McNemar: seeds in which the first "
        "(+) or second (−) is ahead in first responses. detectable: smallest difference found in four of five "
        "cases. k tokens: sampled, and through forward and backward, shared ones once."
    )


def rich_tables(numbers: Mapping[str, Any], title: str) -> list[Any]:
    """The tables as `rich` renderables."""
    from rich.table import Table

    found = []
    for heading, (head, rows) in (
        (title, variant_rows(numbers)),
        ("Differences, in points", comparison_rows(numbers)),
    ):
        table = Table(title=heading, title_justify="left")
        for index, name in enumerate(head):
            table.add_column(name, justify="right" if index else "left", overflow="fold")
        for row in rows:
            table.add_row(*row)
        if rows:
            found.append(table)
    return found


def markdown(numbers: Mapping[str, Any], title: str, pictures: list[str]) -> str:
    """The study as a page: tables, how to read them, pictures."""
    lines = [f"# {title}", ""]
    for head, rows in (variant_rows(numbers), comparison_rows(numbers)):
        if rows:
            lines += ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
            lines += ["| " + " | ".join(row) + " |" for row in rows]
            lines.append("")
    lines += [f"- {sentence}." for sentence in verdicts(numbers)]
    lines += ["", note(numbers), ""]
    lines += [f"![{name}]({name})" for name in pictures]
    return "\n".join(lines) + "\n"
