"""What the model is asked, and the shape of a whole response: plan, reasoning, answer (paper 3.1 and A.11).

Text in, text out; reading a response back is the business of `parsing.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from .errors import ConfigError, DataError, did_you_mean
from .images import content_parts

STYLES = ("plan", "cot", "raw")

_PLAN = (
    "First write a high-level plan for answering this question between <plan> and </plan>: only the main "
    "phases, the choices of strategy and the cases to distinguish, no calculations. Then reason step by step "
    "between <think> and </think>. Examine the plan critically while you do; if it turns out to be wrong, "
    "say so, say what changes, and go on with the revised plan. Last, give the final answer between <answer> "
    "and </answer>, inside \\boxed{}."
)
_COT = (
    "Reason step by step between <think> and </think>, then give the final answer between <answer> and "
    "</answer>, inside \\boxed{}."
)


class _ChatTokenizer(Protocol):
    chat_template: str | None

    def apply_chat_template(
        self, messages: Sequence[Mapping[str, Any]], add_generation_prompt: bool = ...
    ) -> str: ...


def plan_prompt(question: str) -> str:
    """The question, followed by the request for plan, reasoning and answer.

    >>> plan_prompt("What is 1 + 1?").startswith("What is 1 + 1?\\n\\nFirst write a high-level plan")
    True
    """
    return f"{question}\n\n{_PLAN}"


def cot_prompt(question: str) -> str:
    """The question, followed by the request for reasoning and answer, without a plan."""
    return f"{question}\n\n{_COT}"


def build_prompt(
    question: str | Sequence[Mapping[str, Any]], tokenizer: _ChatTokenizer, style: str = "plan"
) -> str:
    """The text that a response continues.

    Args:
        question: text, or chat messages (then the last message carries the request).
        tokenizer: its chat template, where there is one, makes a user's turn of it and opens the assistant's.
        style: "plan" and "cot" add the request of that name; "raw" adds nothing, and leaves plain text
            exactly as it is, without a chat template.

    Raises:
        ConfigError: an unknown style, or messages for a tokenizer without chat template. DataError: no
            messages.
    """
    if style not in STYLES:
        raise ConfigError(
            f"prompt style: got {style!r}, expected one of {', '.join(STYLES)}.{did_you_mean(style, STYLES)}"
        )
    ask = {"plan": plan_prompt, "cot": cot_prompt, "raw": str}[style]
    if isinstance(question, str):
        if style == "raw":
            return question
        if tokenizer.chat_template is None:
            return ask(question) + "\n"
        messages = [{"role": "user", "content": ask(question)}]
    else:
        if not question:
            raise DataError("prompt: needs at least one message, got none")
        messages = [dict(message) for message in question]
        messages[-1]["content"] = ask(str(messages[-1]["content"]))
    return tokenizer.apply_chat_template(messages, add_generation_prompt=True)


def picture_prompt(question: Any, pictures: Sequence[Any], style: str) -> list[dict[str, Any]]:
    """The chat messages of a question with pictures: one user's turn of parts, pictures where the text has `<image n>`,
    those that it does not mention before it.

    Args:
        pictures: opened images, paths or contents of files. style: as `build_prompt`.

    Raises:
        ConfigError: an unknown style. DataError: the question is no text, or its placeholders do not fit the pictures.
    """
    if style not in STYLES:
        raise ConfigError(f"prompt style: got {style!r}, expected one of {', '.join(STYLES)}")
    if not isinstance(question, str):
        raise DataError("a prompt with images must be text with <image n> in it, got chat messages")
    text = {"plan": plan_prompt, "cot": cot_prompt, "raw": str}[style](question)
    try:
        return [{"role": "user", "content": content_parts(text, pictures)}]
    except ValueError as error:
        raise DataError(f"prompt: {error}") from error


def format_record(plan: str, think: str, answer: str) -> str:
    """A whole response that strictly follows the template; the answer is boxed unless it is already.

    >>> format_record("add", "1 + 1 = 2", "2").splitlines()[-1]
    '<answer> \\\\boxed{2} </answer>'
    """
    answer = str(answer).strip()
    boxed = answer if answer.startswith("\\boxed{") else f"\\boxed{{{answer}}}"
    return f"<plan> {plan.strip()} </plan>\n<think> {think.strip()} </think>\n<answer> {boxed} </answer>"
