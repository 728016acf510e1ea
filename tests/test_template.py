"""Prompts of the paper's section 5, and whole responses that the strict parser accepts."""

from __future__ import annotations

import pytest

from ptagrpo.errors import ConfigError, DataError
from ptagrpo.parsing import parse_response
from ptagrpo.template import STYLES, build_prompt, cot_prompt, format_record, plan_prompt


def test_the_plan_request_says_what_the_paper_asks_for():
    text = plan_prompt("What is 1 + 1?")
    assert text.startswith("What is 1 + 1?\n\n")
    for part in ("<plan>", "</plan>", "<think>", "</think>", "<answer>", "</answer>", "\\boxed{}"):
        assert part in text
    assert text.index("<plan>") < text.index("<think>") < text.index("<answer>")
    assert "<plan>" not in cot_prompt("q") and "<think>" in cot_prompt("q")


def test_prompts_without_chat_template(byte_tokenizer):
    tokenizer = byte_tokenizer(chat_template=None)
    assert build_prompt("q", tokenizer) == plan_prompt("q") + "\n"
    assert build_prompt("q", tokenizer, style="cot") == cot_prompt("q") + "\n"
    assert build_prompt("q", tokenizer, style="raw") == "q"
    with pytest.raises(ConfigError, match="no chat template"):
        build_prompt([{"role": "user", "content": "q"}], tokenizer)


@pytest.mark.parametrize("style", STYLES)
def test_prompts_with_chat_template(byte_tokenizer, style):
    tokenizer = byte_tokenizer()
    asked = {"plan": plan_prompt("q"), "cot": cot_prompt("q"), "raw": "q"}[style]
    messages = [{"role": "user", "content": "a"}, {"role": "user", "content": "q"}]
    rendered = f"<|user|>a<eos><|user|>{asked}<eos><|assistant|>"
    assert build_prompt(messages, tokenizer, style) == rendered
    assert messages[1]["content"] == "q"
    alone = "q" if style == "raw" else f"<|user|>{asked}<eos><|assistant|>"
    assert build_prompt("q", tokenizer, style) == alone


def test_errors(byte_tokenizer):
    with pytest.raises(ConfigError, match="got 'plans'.*Did you mean 'plan'"):
        build_prompt("q", byte_tokenizer(), style="plans")
    with pytest.raises(DataError, match="at least one message"):
        build_prompt([], byte_tokenizer())


@pytest.mark.parametrize("answer", ["2", " \\frac{1}{2} ", "\\boxed{7}", "a < b", 3])
def test_records_follow_the_template_strictly(answer):
    parsed = parse_response(format_record(" add \n", "1 + 1 = 2\n\nso 2", answer))
    assert parsed.follows_template and parsed.plan_closed
    assert parsed.plan.strip() == "add" and parsed.think.strip() == "1 + 1 = 2\n\nso 2"
    assert parsed.answer == ("7" if "boxed" in str(answer) else str(answer).strip())
