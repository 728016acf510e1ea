"""Structure reward (Eq. 6): a constant for a response that strictly follows the template, else 0."""

from __future__ import annotations

from ..parsing import follows_template


def structure_reward(text: str, value: float = 0.2) -> float:
    """`value` if `text` strictly follows `<plan>…</plan><think>…</think><answer>…</answer>`, else 0.

    >>> structure_reward("<plan>a</plan> <think>b</think> <answer>c</answer>")
    0.2
    >>> structure_reward("<plan>a</plan> <think>b</think> c")
    0.0
    """
    return value if follows_template(text) else 0.0
