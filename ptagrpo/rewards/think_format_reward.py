"""Format reward with TRL's name and meaning: the completion starts with one closed `<think>` block."""

from __future__ import annotations

from typing import Any


def completion_text(completion: str | list[dict[str, Any]]) -> str:
    """The text of a completion, plain or chat."""
    return completion if isinstance(completion, str) else completion[0]["content"]


def think_format_reward(completions: list[str] | list[list[dict[str, Any]]], **kwargs: Any) -> list[float]:
    """1.0 where the completion is `<think>…</think>…`, with one opening tag, right at the start; else 0.0.

    >>> think_format_reward(["<think>a\\nb</think>4", "<think>a", "a</think>"])
    [1.0, 0.0, 0.0]
    """
    texts = [completion_text(completion) for completion in completions]
    return [
        float(text.startswith("<think>") and text.count("<think>") == 1 and "</think>" in text)
        for text in texts
    ]
