"""The bytes that each token adds to a text: what stop strings are matched against while sampling.

A token need not be whole characters (byte-level BPE cuts inside them), so stop strings are matched on bytes.
Which bytes a token stands for is decided by the tokenizer's decoder; this module reads the decoder's
description and knows the kinds that language models use:

- `ByteLevel` (GPT-2, Llama 3, Qwen): each character of the token stands for one byte;
- `Replace` + `ByteFallback` + `Fuse` + `Strip`, or `Metaspace` (sentencepiece: Llama 2): "▁" is a space,
  `<0x0A>` a byte;
- none: tokens are words, decoding joins them with spaces; `WordPiece`: the same, except for continuation
  tokens.

Where decoding treats the first token of a text differently (no space before the first word), the bytes here
are those of a token that is not the first. So the joined bytes are the decoded text, but for at most one
leading space.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import Any

import numpy as np

from .errors import ConfigError

BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>")
# What tokenizers' WordPiece decoder tidies up after putting a space before a token.
WORDPIECE_CLEANUP = (
    (" .", "."), (" ?", "?"), (" !", "!"), (" ,", ","), (" ' ", "'"), (" n't", "n't"), (" 'm", "'m"),
    (" do not", " don't"), (" 's", "'s"), (" 've", "'ve"), (" 're", "'re"),
)  # fmt: skip


@cache
def byte_level_alphabet() -> dict[str, int]:
    """Byte of each character of a byte-level token: printable Latin-1 is itself, the others lie above."""
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAC + 1), *range(0xAE, 0xFF + 1)]
    others = [byte for byte in range(256) if byte not in set(printable)]
    return {chr(byte): byte for byte in printable} | {chr(256 + i): byte for i, byte in enumerate(others)}


def token_byte_rule(decoder: Mapping[str, Any] | None) -> Callable[[str], bytes]:
    """The function from a token's string to its bytes, for a decoder as described in a tokenizer.json.

    Raises:
        ConfigError: a kind of decoder whose bytes are not known here.
    """
    steps = _flatten(decoder)
    kinds = [step["type"] for step in steps]
    if not steps:
        return lambda token: b" " + token.encode("utf-8")
    if kinds == ["ByteLevel"]:
        return _byte_level
    if kinds == ["WordPiece"]:
        return lambda token: _wordpiece(token, steps[0]["prefix"], steps[0]["cleanup"])
    if set(kinds) <= {"Replace", "ByteFallback", "Fuse", "Strip", "Metaspace"}:
        spaces = [_replacement(step) for step in steps if step["type"] in ("Replace", "Metaspace")]
        has_bytes = "ByteFallback" in kinds
        return lambda token: _sentencepiece(token, spaces, has_bytes)
    raise ConfigError(
        f"tokenizer decoder {' + '.join(kinds)}: the bytes of its tokens are not known, so stop strings "
        "cannot be matched"
    )


def token_byte_table(
    tokens: Iterable[str | None], decoder: Mapping[str, Any] | None
) -> tuple[np.ndarray, np.ndarray]:
    """Bytes of all tokens end to end, and where each begins.

    Args:
        tokens: token strings by id; None for an id that no token has (no bytes).
        decoder: as in `token_byte_rule`.

    Returns:
        (uint8[total], int64[V + 1]): token `i` is `bytes[offsets[i]:offsets[i + 1]]`.
    """
    rule = token_byte_rule(decoder)
    pieces = [b"" if token is None else rule(token) for token in tokens]
    offsets = np.zeros(len(pieces) + 1, np.int64)
    np.cumsum([len(piece) for piece in pieces], out=offsets[1:])
    return np.frombuffer(b"".join(pieces), np.uint8), offsets


def _flatten(decoder: Mapping[str, Any] | None) -> list[Mapping[str, Any]]:
    if decoder is None:
        return []
    if decoder["type"] == "Sequence":
        return [step for inner in decoder["decoders"] for step in _flatten(inner)]
    return [decoder]


def _byte_level(token: str) -> bytes:
    alphabet = byte_level_alphabet()
    try:
        return bytes([alphabet[character] for character in token])
    except KeyError:  # an added token with characters that stand for no byte: it is plain text
        return token.encode("utf-8")


def _wordpiece(token: str, prefix: str, cleanup: bool) -> bytes:
    text = token.replace(prefix, "", 1) if token.startswith(prefix) else f" {token}"
    if cleanup:
        for spaced, tidy in WORDPIECE_CLEANUP:
            text = text.replace(spaced, tidy)
    return text.encode("utf-8")


def _replacement(step: Mapping[str, Any]) -> tuple[str, str]:
    if step["type"] == "Metaspace":
        return step["replacement"], " "
    if "String" not in step["pattern"]:
        raise ConfigError(f"tokenizer decoder: Replace with the pattern {step['pattern']!r} is not supported")
    return step["pattern"]["String"], step["content"]


def _sentencepiece(token: str, replacements: list[tuple[str, str]], has_bytes: bool) -> bytes:
    if has_bytes and (match := BYTE_TOKEN.fullmatch(token)):
        return bytes([int(match[1], 16)])
    for old, new in replacements:
        token = token.replace(old, new)
    return token.encode("utf-8")
