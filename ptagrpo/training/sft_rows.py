"""From rows of text to token sequences with a loss mask. The trainer does the rest."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..data import check_sft_row
from ..data.pictures import images_of
from ..errors import ConfigError, DataError
from ..packing import SFTRecord
from ..records import Encoded
from ..template import build_prompt, format_record, picture_prompt
from ..tokenizer import Tokenizer
from ..vision import has_images

IMAGE_COLUMNS = ("image", "images")


def encode_rows(
    rows: Sequence[Mapping[str, Any]],
    tokenizer: Tokenizer,
    *,
    encode: Callable[[Any, str], Encoded] | None = None,
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
        encode: chat messages with images, and what errors call them -> what the model takes; needed where rows have
            pictures (columns image, images).
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
            images = images_of(row, IMAGE_COLUMNS)
            prompt, completion = _split(row, tokenizer, prompt_style, images)
        except (ValueError, ConfigError) as error:
            raise DataError(f"{name}[{index}]: {error}") from error
        if isinstance(prompt, str):
            encoded = Encoded(np.asarray(tokenizer.encode_prompt(prompt or ""), np.int32))
        elif encode is None:
            raise DataError(f"{name}[{index}]: has images, and this model reads text only")
        else:
            encoded = encode(prompt, f"{name}[{index}]")
        prompt_ids = encoded.ids
        completion_ids = tokenizer.encode(completion)
        if tokenizer.eos_token_ids and (
            not completion_ids or completion_ids[-1] not in tokenizer.eos_token_ids
        ):
            completion_ids.append(_end(tokenizer))
        record = SFTRecord.from_prompt(prompt_ids, completion_ids, encoded.pictures)
        if not completion_only_loss:
            record = replace(record, loss_mask=np.ones(len(record.token_ids), bool))
        if max_length is not None and len(record.token_ids) > max_length:
            cut += 1
            whole = not encoded.pictures or len(prompt_ids) <= max_length  # no picture is cut in two
            mask = record.loss_mask[:max_length] & whole
            record = replace(record, token_ids=record.token_ids[:max_length], loss_mask=mask)
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


def _split(
    row: Mapping[str, Any], tokenizer: Tokenizer, prompt_style: str, images: Sequence[str | bytes]
) -> tuple[str | list[dict[str, Any]] | list[Mapping[str, Any]], str]:
    """Prompt (with images: its messages) and completion text of a row."""
    if images:
        if isinstance(row.get("completion"), str):
            return picture_prompt(row["prompt"], images, "raw"), row["completion"]
        if "plan" not in row:
            raise ValueError(
                "a row with images needs a text prompt and completion, or question, plan, think and answer"
            )
        question = row["question"] if row.get("question") is not None else row["prompt"]
        record = format_record(row["plan"], row["think"], str(row["answer"]))
        return picture_prompt(question, images, prompt_style), record
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
) -> tuple[str | list[Mapping[str, Any]], str]:
    """A conversation as the chat template writes it, cut where the last assistant turn begins. A prompt with images
    stays messages.
    """
    if not before:
        raise ValueError("expected at least one message before the assistant's")
    prompt = tokenizer.apply_chat_template(before, add_generation_prompt=True)
    whole = tokenizer.apply_chat_template([*before, *said], add_generation_prompt=False)
    given = before if has_images(before) else prompt
    if whole.startswith(prompt) and len(whole) > len(prompt):
        return given, whole[len(prompt) :].rstrip("\n")
    return given, "\n".join(
        str(message["content"]) for message in said
    )  # the template rewrites earlier turns
