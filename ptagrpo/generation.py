"""Batched sampling for a policy: prompts are stored once in a KV cache, their continuations decode together,
and where one ends the next one begins.

A draw depends on its key and its position in the response, never on what shares the batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np

from . import _core, rng
from .errors import ConfigError, DataError
from .records import Encoded, Picture
from .vision import expand, has_images, picture_rows, place, rope_positions, take_pictures

if TYPE_CHECKING:
    from .models import ModelConfig
    from .policy import Policy

Prompt: TypeAlias = str | Sequence[int] | Sequence[Mapping[str, Any]]

KV_BUDGET = 1 << 30  # bytes of keys and values held at once: half for prompts, half for continuations
MAX_BATCH, MOST_ROWS = 256, 512  # continuations decoded together: by default at most; ever
BATCHES_PER_CALL = 4  # continuations of one call to the core, in batches: the bar moves on between calls
PAGE_TOKENS = 64  # the cache stores keys and values in pages of this many tokens
FINISH_REASONS = ("length", "eos", "stop")


@dataclass(frozen=True)
class Completion:
    """One continuation of a prompt.

    token_ids: int32[n], the end-of-sequence token included.
    text: without special tokens; it ends with the stop string where one ended it.
    logprobs: float32[n] under the temperature alone. sampling_logprobs: float32[n] under the distribution
        sampled (after top-k, top-p, min-p). Greedy: `logprobs` at temperature 1, `sampling_logprobs` 0.
    finish_reason: "eos", "stop" (a stop string) or "length".
    """

    token_ids: np.ndarray
    text: str
    logprobs: np.ndarray
    sampling_logprobs: np.ndarray
    finish_reason: str


def encode(policy: Policy, prompt: Prompt | Encoded, what: str = "prompt") -> Encoded:
    """A prompt as the model takes it: a text (BOS added where the tokenizer uses one), token ids, or chat messages,
    whose content may have parts {"type": "image", "image": path, bytes or an opened image}.

    Raises:
        DataError: no tokens, an id outside the vocabulary, or an image that cannot be opened. ConfigError: messages
            without a chat template, or images for a model that reads text only.
    """
    if isinstance(prompt, Encoded):
        return prompt
    pictures: tuple[Picture, ...] = ()
    if isinstance(prompt, str):
        ids: Any = policy.tokenizer.encode_prompt(prompt)
    elif len(prompt) and isinstance(prompt[0], Mapping):
        messages: Any = prompt
        ids = policy.tokenizer.encode_prompt(policy.tokenizer.apply_chat_template(messages))
        if has_images(messages):
            pictures = take_pictures(messages, policy.eyes(what), what)
            ids = expand(ids, _image_token(policy), pictures, what)
    else:
        ids = prompt
    if len(ids) == 0:
        raise DataError(f"{what}: has no tokens; nothing can be sampled after it")
    return Encoded(policy.check_ids(ids, what), pictures)


def _image_token(policy: Policy) -> int:
    assert policy.config.vision is not None  # whoever has pictures has been through Policy.eyes
    return policy.config.vision.image_token_id


def prefill(policy: Policy, cache: _core.Cache, prompts: Sequence[Encoded]) -> np.ndarray:
    """Store prompts as roots of a cache; int64[len(prompts)] handles."""
    ids, parents = [prompt.ids for prompt in prompts], np.full(len(prompts), -1, np.int64)
    if not any(prompt.pictures for prompt in prompts):
        return cache.prefill(ids, parents)
    positions, inputs = [], []
    for prompt in prompts:
        placed = place(prompt.ids, _image_token(policy), prompt.pictures)
        positions.append(rope_positions(len(prompt), placed)[0] if placed else None)
        inputs.append((picture_rows(placed), policy.look(prompt.pictures)) if placed else None)
    return cache.prefill(ids, parents, positions, inputs)


def sights(policy: Policy, sequences: Sequence[Encoded], offsets: np.ndarray) -> tuple[Any, ...]:
    """Further arguments of a forest of these roots, which begin at `offsets`: positions, rows of pictures, what the
    tower makes of them; nothing where there is no picture."""
    if not any(sequence.pictures for sequence in sequences):
        return ()
    placed = [place(s.ids, _image_token(policy), s.pictures) for s in sequences]
    positions = [rope_positions(len(s), p)[0] for s, p in zip(sequences, placed, strict=True)]
    rows = [picture_rows(p) + start for p, start in zip(placed, offsets, strict=False)]
    seen = policy.look([picture for sequence in sequences for picture in sequence.pictures])
    return np.concatenate(positions, axis=1), np.concatenate(rows).astype(np.int32), seen


def generate(
    policy: Policy,
    prompts: Sequence[Prompt],
    *,
    n: int = 1,
    max_new_tokens: int = 512,
    temperature: float = 1.0,
    top_p: float = 1.0,
    top_k: int = 0,
    min_p: float = 0.0,
    stop: Sequence[str] = (),
    seed: int = 0,
    keys: np.ndarray | None = None,
    batch_size: int | None = None,
    progress: bool = False,
) -> list[list[Completion]]:
    """Continue each prompt `n` times.

    Args:
        prompts: texts, lists of token ids, or lists of chat messages (rendered by the chat template), with images where
            the model reads them (see `encode`).
        max_new_tokens: most tokens of a continuation.
        temperature: 0 is greedy: the most likely token each time.
        top_p, top_k, min_p: restrict the distribution (1, 0 and 0: not at all).
        stop: a continuation ends with the token that completes one of these strings.
        seed: draws of continuation `j` of prompt `i` are keyed by (seed, i, j).
        keys: uint64[len(prompts) · n] instead of `seed`: the key of each continuation, prompt by prompt.
        batch_size: continuations decoded together, 512 at most; None: as many as half a gibibyte of KV
            memory holds at worst, at most 256. Changes the speed only.
        progress: show a bar.

    Returns:
        For each prompt its `n` completions.

    Raises:
        ConfigError: a setting out of range. DataError: a prompt without tokens or outside the vocabulary.
        FloatingPointError: the model's logits are not finite.
    """
    if isinstance(prompts, (str, Mapping)):
        raise ConfigError(f"prompts: expected a list of prompts, got one {type(prompts).__name__}")
    for name, value, least in (
        ("n", n, 1),
        ("max_new_tokens", max_new_tokens, 1),
        ("batch_size", batch_size, 1),
    ):
        if value is not None and value < least:
            raise ConfigError(f"{name}: expected at least {least}, got {value}")
    ids = [encode(policy, prompt, f"prompt {index}") for index, prompt in enumerate(prompts)]
    all_keys = _keys(keys, seed, len(ids), n)
    stops = policy.stop_table(stop) if len(stop) else None
    settings: dict[str, Any] = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "min_p": min_p}
    rows = min(batch_size or decode_rows(policy, max_new_tokens, KV_BUDGET // 2), MOST_ROWS)
    results: list[list[Completion]] = []
    bar = _progress_bar(len(ids) * n, progress)
    for part in _parts(policy, ids, max(1, BATCHES_PER_CALL * rows // n)):
        cache = _core.Cache(policy.model)
        handles = prefill(policy, cache, [ids[i] for i in part])
        drawn = cache.sample(
            np.repeat(handles, n),
            all_keys[part.start * n : part.stop * n],
            np.full(len(part) * n, max_new_tokens, np.int32),
            eos=np.asarray(policy.tokenizer.eos_token_ids, np.int32),
            stops=stops,
            max_rows=rows,
            keep=False,
            **settings,
        )
        completions = _completions(policy, drawn, stop)
        results += [completions[i * n : (i + 1) * n] for i in range(len(part))]
        bar.update(len(completions))
    bar.close()
    return results


def _keys(keys: np.ndarray | None, seed: int, num_prompts: int, n: int) -> np.ndarray:
    if keys is None:
        return np.array([rng.key(seed, i, j) for i in range(num_prompts) for j in range(n)], np.uint64)
    keys = np.ascontiguousarray(keys, np.uint64)
    if keys.shape != (num_prompts * n,):
        raise ConfigError(f"keys: expected {num_prompts * n} of them (prompts · n), got shape {keys.shape}")
    return keys


class Shaped(Protocol):
    """A policy, or what one would be: sizes, and the type of its activations."""

    @property
    def config(self) -> ModelConfig: ...
    @property
    def dtype(self) -> str: ...


def kv_bytes(policy: Shaped, tokens: int) -> int:
    """Bytes of the pages that hold the keys and values of `tokens` tokens."""
    config, element = policy.config, 2 if policy.dtype == "bfloat16" else 4
    per_token = 2 * element * config.num_hidden_layers * config.num_key_value_heads * config.head_dim
    return -(-tokens // PAGE_TOKENS) * PAGE_TOKENS * per_token


def decode_rows(policy: Shaped, max_new_tokens: int, budget: int) -> int:
    """Continuations that decode side by side: at most MAX_BATCH, fewer where their pages exceed `budget`
    bytes at worst.
    """
    # One more page: a continuation that begins inside a page has a copy of it.
    return int(np.clip(budget // kv_bytes(policy, max_new_tokens + PAGE_TOKENS), 1, MAX_BATCH))


def _parts(policy: Policy, ids: Sequence[Encoded], most: int) -> Iterator[range]:
    """Cut the prompts, in order, into parts of at most `most` whose pages fit into half the budget."""
    start = used = 0
    for index, prompt in enumerate(ids):
        need = kv_bytes(policy, len(prompt))
        if index > start and (index - start == most or used + need > KV_BUDGET // 2):
            yield range(start, index)
            start, used = index, 0
        used += need
    if len(ids) > start:
        yield range(start, len(ids))


def _progress_bar(total: int, show: bool) -> Any:
    from tqdm.auto import tqdm

    return tqdm(total=total, desc="generate", unit="completion", disable=not show)


def _completions(policy: Policy, drawn: _core.Chains, stop: Sequence[str]) -> list[Completion]:
    cuts = np.cumsum(drawn["lengths"])[:-1]
    columns = [np.split(field, cuts) for field in (drawn["tokens"], drawn["logprobs"], drawn["sampling_logprobs"])]
    completions = []
    for tokens, logprobs, sampling, finish in zip(*columns, drawn["finish"].tolist(), strict=True):
        reason = FINISH_REASONS[finish]
        text = policy.tokenizer.decode(tokens[:-1] if reason == "eos" else tokens)
        if reason == "stop":
            text = cut_after_stop(text, stop)
        completions.append(Completion(tokens, text, logprobs, sampling, reason))
    return completions


def cut_after_stop(text: str, stop: Sequence[str]) -> str:
    """`text` up to the end of the stop string that ends first (all of it when none occurs).

    >>> cut_after_stop("<plan> a </plan>\\n\\n", ["</plan>"])
    '<plan> a </plan>'
    """
    ends = [text.find(string) + len(string) for string in stop if string in text]
    return text[: min(ends)] if ends else text
