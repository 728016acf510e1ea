"""What a model is asked: the styles of prompts, with and without images."""

from __future__ import annotations

from typing import Any

from ..benchmarks import INSTRUCTION, Benchmark, official_messages
from ..errors import ConfigError, did_you_mean
from ..images import content_parts, open_image
from ..records import Messages, Question
from ..template import build_prompt, cot_prompt, plan_prompt

PROMPT_STYLES = ("plan", "official", "cot", "raw")


def check_style(style: str) -> None:
    """Raise `ConfigError` for an unknown style."""
    if style not in PROMPT_STYLES:
        raise ConfigError(
            f"prompt_style is {style!r}, expected one of "
            f"{', '.join(PROMPT_STYLES)}.{did_you_mean(style, PROMPT_STYLES)}"
        )


def make_prompt(question: Question, tokenizer: Any, style: str, benchmark: Benchmark | None = None) -> str:
    """The text that a response to `question`, which has no images, continues.

    Args:
        style: "plan" (the template of PTA-GRPO), "official" (the benchmark's own prompt; for mathematics
            Qwen2.5-Math's step-by-step prompt), "cot" or "raw" (see `template.build_prompt`).

    Raises:
        ConfigError: an unknown style.
    """
    check_style(style)
    if style != "official":
        return build_prompt(question.prompt, tokenizer, style=style)
    own = _has_own_prompt(benchmark)
    prompt = benchmark.official_prompt(question) if own and benchmark else official_messages(question.prompt)
    if tokenizer.chat_template is None and isinstance(question.prompt, str):
        return f"{prompt}\n" if isinstance(prompt, str) else f"{question.prompt}\n{INSTRUCTION}\n"
    messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
    return str(tokenizer.apply_chat_template(messages, add_generation_prompt=True))


def make_image_prompt(question: Question, style: str, benchmark: Benchmark | None = None) -> Messages:
    """The chat messages of a question with images: one user's turn whose content is a list of parts, images (opened,
    RGB) and texts in their order, as chat templates of vision-language models take it.

    Raises:
        ConfigError: an unknown style, or Pillow is missing.   DataError: an image that cannot be opened.
    """
    check_style(style)
    text: Any = question.prompt
    if isinstance(text, str) and style == "official":
        own = _has_own_prompt(benchmark)
        text = benchmark.official_prompt(question) if own and benchmark else f"{text}\n{INSTRUCTION}"
    elif isinstance(text, str) and style != "raw":
        text = {"plan": plan_prompt, "cot": cot_prompt}[style](text)
    if not isinstance(text, str):
        raise ConfigError(f"question {question.id!r}: a prompt with images must be text, got chat messages")
    images = [
        open_image(source, f"question {question.id!r}, image {number}")
        for number, source in enumerate(question.images, start=1)
    ]
    return [{"role": "user", "content": content_parts(text, images)}]


def _has_own_prompt(benchmark: Benchmark | None) -> bool:
    return benchmark is not None and benchmark.spec is not None and benchmark.spec.official_prompt is not None
