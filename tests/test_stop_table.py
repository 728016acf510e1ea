"""Stop strings across token borders, inside tokens and characters, against a search in the text."""

from __future__ import annotations

import numpy as np
import pytest
from generate_helpers import ids, logit_model, roots, sample

from ptagrpo import _core


def stop_table(tokens: list[bytes], stops: list[bytes]):
    offsets = np.cumsum([0] + [len(t) for t in tokens]).astype(np.int64)
    stop_offsets = np.cumsum([0] + [len(s) for s in stops]).astype(np.int32)
    joined = [np.frombuffer(b"".join(parts), np.uint8).copy() for parts in (tokens, stops)]
    return _core.StopTable(joined[0], offsets, joined[1], stop_offsets)


def expected_length(tokens: list[bytes], drawn: list[int], stops: list[bytes]) -> int | None:
    """Tokens up to the one that completes a stop string, None when the text holds none."""
    text = b""
    for count, token in enumerate(drawn, 1):
        text += tokens[token] if token < len(tokens) else b""
        if any(stop in text for stop in stops):
            return count
    return None


@pytest.mark.parametrize(
    "tokens, stops",
    [
        ([b"a", b"b", b"ab", b"ba", b"aab", b""], [b"aabab"]),
        ([b"a", b"b", b"abab", b"bb"], [b"abba", b"bbb", b"bab"]),
        ([b"</", b"pl", b"an", b">", b"</plan", b"x", b"n>y"], [b"</plan>"]),
        (["é".encode()[:1], "é".encode()[1:], "日本".encode(), b"a"], ["é日".encode(), "本本".encode()]),
        ([b"a", b"\n", b"\n\n", b"a\n"], [b"\n\n\n"]),
        ([b"a", b"b"], []),
    ],
    ids=lambda value: str(value)[:40],
)
def test_chains_end_with_the_token_that_completes_a_stop_string(tokens, stops):
    vocab_size = len(tokens) + 1  # the last id is beyond the table: it has no bytes
    cache = _core.Cache(logit_model(np.zeros((2, vocab_size), np.float32)))
    parents = np.repeat(cache.prefill([ids(0)], roots(1)), 200)
    free = sample(cache, parents, np.arange(200), 40)
    stopped = sample(cache, parents, np.arange(200), 40, stops=stop_table(tokens, stops))
    ended = 0
    for chain in range(200):
        length = expected_length(tokens, free["tokens"][chain].tolist(), stops)
        ended += length is not None
        assert stopped["tokens"][chain].tolist() == free["tokens"][chain][:length].tolist()
        assert stopped["finish"][chain] == (0 if length is None else 2)
    assert ended > 0 or not stops


def test_only_generated_text_counts():
    """The prompt's own half of a stop string does not help to complete it."""
    tokens = [b"<", b"/", b">"]
    logits = np.full((3, 3), -50, np.float32)
    logits[[0, 1, 2], [1, 2, 0]] = 50  # < / > < / > ...
    cache = _core.Cache(logit_model(logits))
    result = sample(cache, cache.prefill([ids(0)], roots(1)), [0], 9, stops=stop_table(tokens, [b"</>"]))
    assert result["tokens"][0].tolist() == [1, 2, 0, 1, 2]


def test_end_of_sequence_wins_over_a_stop_string_of_the_same_token():
    cache = _core.Cache(logit_model(np.zeros((1, 1), np.float32)))
    handle = cache.prefill([ids(0)], roots(1))
    table = stop_table([b"a"], [b"a"])
    assert sample(cache, handle, [0], 5, stops=table)["finish"].tolist() == [2]
    assert sample(cache, handle, [0], 5, stops=table, eos=[0])["finish"].tolist() == [1]


def test_wrong_tables_are_refused():
    u8, i64, i32 = (lambda *v: np.array(v, np.uint8)), (lambda *v: np.array(v, np.int64)), ids
    with pytest.raises(ValueError, match="stop string 0 is empty"):
        _core.StopTable(u8(1), i64(0, 1), u8(), i32(0, 0))
    with pytest.raises(ValueError, match="token_offsets: ends at 2"):
        _core.StopTable(u8(1), i64(0, 2), u8(1), i32(0, 1))
    with pytest.raises(ValueError, match="decreases at token 1"):
        _core.StopTable(u8(1, 2), i64(0, 2, 1, 2), u8(1), i32(0, 1))
    with pytest.raises(ValueError, match="stop_offsets: ends at 3"):
        _core.StopTable(u8(1), i64(0, 1), u8(1), i32(0, 3))
    with pytest.raises(ValueError, match="must start at 0"):
        _core.StopTable(u8(1), i64(1, 1), u8(1), i32(0, 1))
    with pytest.raises(ValueError, match="at most 16384"):
        _core.StopTable(u8(1), i64(0, 1), np.ones(20000, np.uint8), i32(0, 20000))
    with pytest.raises(ValueError, match="V\\+1 >= 1"):
        _core.StopTable(u8(), i64(), u8(), i32(0))
    with pytest.raises(TypeError, match="token_bytes: expected uint8"):
        _core.StopTable(i32(1), i64(0, 1), u8(1), i32(0, 1))
