"""GSM8K: word problems whose worked solution ends in a line `#### N`; `<<12*3=36>>` are calculator notes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ..columns import require_text
from . import Hub, RowFormat, Trace, Unusable

_CALCULATOR = re.compile(r"<<[^<>]*>>")


def _split(row: Mapping[str, Any]) -> tuple[str, str, str]:
    question = require_text(row, ("question",), "the question")
    worked, mark, final = require_text(row, ("answer",), "the worked solution").rpartition("####")
    final = final.strip().replace(",", "")
    if not mark or not final:
        raise ValueError("expected a worked solution that ends in '#### N' in column 'answer'")
    return question, _CALCULATOR.sub("", worked).strip(), final


def _question(row: Mapping[str, Any]) -> tuple[str, str]:
    question, _, final = _split(row)
    return question, final


def _traces(row: Mapping[str, Any]) -> list[Trace]:
    question, worked, final = _split(row)
    if not worked:
        raise Unusable("the row holds no worked solution")
    return [Trace(question, worked, final, correct=True)]


FORMAT = RowFormat(
    name="gsm8k",
    columns="question, answer (worked solution, then '#### N')",
    detect=lambda row: isinstance(row.get("question"), str) and "####" in str(row.get("answer", "")),
    question=_question,
    traces=_traces,
    hub=Hub("openai/gsm8k", "main", rows=7473, licence="MIT"),
    file="maths/gsm8k_train.jsonl",
)
