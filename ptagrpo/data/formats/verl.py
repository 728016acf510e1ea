"""verl's schema: data_source, prompt (messages), ability, reward_model {style, ground_truth}, extra_info."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..columns import answer_text, prompt_value
from . import RowFormat


def _question(row: Mapping[str, Any]) -> tuple[str | list, str]:
    reward_model = row.get("reward_model")
    if not isinstance(reward_model, Mapping) or reward_model.get("ground_truth") is None:
        raise ValueError("expected column 'reward_model' to hold {'ground_truth': ...}")
    truth = reward_model["ground_truth"]
    if isinstance(truth, (list, tuple)) and len(truth) == 1:
        truth = truth[0]
    return prompt_value(row), answer_text(truth)


FORMAT = RowFormat(
    name="verl",
    columns="data_source, prompt (messages), reward_model {ground_truth}, extra_info",
    detect=lambda row: "reward_model" in row and "prompt" in row,
    question=_question,
)
