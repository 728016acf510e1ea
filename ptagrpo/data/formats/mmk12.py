"""MMK12's training questions: mathematics and science with a picture each: id, question, answer, subject, image."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..columns import answer_or_none, require_text
from . import Hub, RowFormat


def _question(row: Mapping[str, Any]) -> tuple[str, str | None]:
    return require_text(row, ("question",), "the question"), answer_or_none(row, ("answer", "gold"))


FORMAT = RowFormat(
    name="mmk12",
    columns="id, question, answer, subject, image",
    detect=lambda row: "question" in row and "subject" in row and "image" in row and "options" not in row,
    question=_question,
    image_columns=("image",),
    hub=Hub("FanqingM/MMK12", rows=15616, licence="Apache-2.0"),
)
