"""From rows of text to token sequences with a loss mask. The trainer does the rest."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..data import check_sft_row
from ..errors import ConfigError, DataError
from ..packing import SFTRecord
from ..template import build_prompt, format_record
from ..tokenizer import Tokenizer


def encode_rows(
    rows: Sequence[Mapping[str, Any]],
    tokenizer: Tokenizer,
    *,
    prompt_style: str = "plan",
    max_length: int | None = None,
    completion_only_loss: bool = True,
    text_field: str = "text",
    name: str = "dataset",
) -> list[SFTRecord]:
    """Tokenise SFT rows; see `SFTTrainer` for the kinds of row.

    Prompt and completion are encoded apart, as in sampling, where a response continues the prompt's tokens.
    The completion ends with the tokenizer's end of sequence.

    Args:
        prompt_style: how the question of a plan row becomes a prompt; prompts of other rows are taken as
            they are.
        max_length: longer sequences are cut at the end, with a warning that counts them; None: no limit.
        completion_only_loss: False counts the prompt's tokens in the loss too.
        name: what errors call the rows.

    Raises:
        DataError: a malformed row, or one whose completion has no token within `max_length`; names the row.
    """
    records, cut = [], 0
    for index, row in enumerate(rows):
        try:
            if text_field != "text" and text_field in row:
                row = {**row, "text": row[text_field]}
            check_sft_row(row)
            prompt, completion = _split(row, tokenizer, prompt_style)
        except (ValueError, ConfigError) as error:
            raise DataError(f"{name}[{index}]: {error}") from error
        prompt_ids = tokenizer.encode_prompt(prompt) if prompt else tokenizer.encode_prompt("")
        completion_ids = tokenizer.encode(completion)
        if tokenizer.eos_token_ids and (
            not completion_ids or completion_ids[-1] not in tokenizer.eos_token_ids
        ):
            completion_ids.append(_end(tokenizer))
        record = SFTRecord.from_prompt(prompt_ids, completion_ids)
        if not completion_only_loss:
            record = SFTRecord(record.token_ids, np.ones(len(record.token_ids), bool))
        if max_length is not None and len(record.token_ids) > max_length:
            cut += 1
            record = SFTRecord(record.token_ids[:max_length], record.loss_mask[:max_length])
        if record.num_targets == 0:
            raise DataError(
                f"{name}[{index}]: no token to learn from: the prompt has {len(prompt_ids)} tokens, the "
                "completion "
                f"{len(completion_ids)}, and max_length is {max_length}; raise max_length or drop the row"
            )
        records.append(record)
    if cut:
        warnings.warn(
            f"{name}: {cut} of {len(records)} rows are longer than max_length ({max_length}) and were cut "
            "at the end, "
            "so that they never reach their answer",
            RuntimeWarning,
            stacklevel=2,
        )
    return records


def _end(tokenizer: Tokenizer) -> int:
    """The id that ends a text: the tokenizer's own eos_token, which chat models end their turn with."""
    return tokenizer.eos_token_id if tokenizer.eos_token_id is not None else tokenizer.eos_token_ids[0]


def _split(row: Mapping[str, Any], tokenizer: Tokenizer, prompt_style: str) -> tuple[str, str]:
    """Prompt text and completion text of a row."""
    if "messages" in row:
        return _split_chat(list(row["messages"][:-1]), [row["messages"][-1]], tokenizer)
    if "completion" in row:
        prompt, completion = row["prompt"], row["completion"]
        if isinstance(prompt, str) and isinstance(completion, str):
            return prompt, completion
        if isinstance(prompt, str):
            prompt = [{"role": "user", "content": prompt}]
        if isinstance(completion, str):
            completion = [{"role": "assistant", "content": completion}]
        return _split_chat(list(prompt), list(completion), tokenizer)
    if "text" in row and "plan" not in row:
        return "", row["text"]
    question = row["question"] if row.get("question") is not None else row["prompt"]
    prompt = build_prompt(question, tokenizer, style=prompt_style)
    return prompt, format_record(row["plan"], row["think"], str(row["answer"]))


def _split_chat(
    before: list[Mapping[str, Any]], said: list[Mapping[str, Any]], tokenizer: Tokenizer
) -> tuple[str, str]:
    """A conversation as the chat template writes it, cut where the last assistant turn begins."""
    if not before:
        raise ValueError("expected at least one message before the assistant's")
    prompt = tokenizer.apply_chat_template(before, add_generation_prompt=True)
    whole = tokenizer.apply_chat_template([*before, *said], add_generation_prompt=False)
    if whole.startswith(prompt) and len(whole) > len(prompt):
        return prompt, whole[len(prompt) :].rstrip("\n")
    return prompt, "\n".join(
        str(message["content"]) for message in said
    )  # the template rewrites earlier turns
