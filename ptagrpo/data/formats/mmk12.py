"""MMK12's training questions: mathematics and science with a picture each: id, question, answer, subject, image.

The prompt is a chat message whose content is the picture's place and the question; the picture itself stays in
the column `image`, as TRL's data sets for vision-language models have it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..columns import answer_or_none, require_text
from . import Hub, RowFormat


def _question(row: Mapping[str, Any]) -> tuple[str | list, str | None]:
    question = require_text(row, ("question",), "the question")
    answer = answer_or_none(row, ("answer", "gold"))
    if row.get("image") is None:
        return question, answer
    content = [{"type": "image"}, {"type": "text", "text": question}]
    return [{"role": "user", "content": content}], answer


FORMAT = RowFormat(
    name="mmk12",
    columns="id, question, answer, subject, image",
    detect=lambda row: "question" in row and "subject" in row and "image" in row and "options" not in row,
    question=_question,
    hub=Hub("FanqingM/MMK12", rows=15616, licence="Apache-2.0"),
)
