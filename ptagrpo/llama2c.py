"""Reads models in llama2.c's format (Andrej Karpathy's tinyllamas) and writes them as Hugging Face folders.

Two files: the weights (.bin, the original "version 0" layout: seven int32 and float32 arrays) and the
tokenizer (tokenizer.bin: a score and a text for every token). Two things differ from Hugging Face's Llama:

- llama2.c rotates the pairs (2i, 2i + 1) of a head, Hugging Face the pairs (i, i + D/2): rows of q and k are
  permuted;
- its tokenizer merges, wherever it can, the pair whose joined token has the best score, which is BPE with
  every
  possible pair of each token as a merge, best score first.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tokenizers

from . import _core
from .checkpoint import save_model
from .errors import CheckpointError
from .models import ModelConfig
from .tokenizer import Tokenizer

HEADER = struct.Struct("<7i")  # dim, hidden_dim, n_layers, n_heads, n_kv_heads, vocab_size, max_seq_len
UNK, BOS, EOS, NUM_CONTROL = 0, 1, 2, 3
FIRST_TEXT = NUM_CONTROL + 256  # control tokens, then one token for each byte, then texts
SPACE = "\u2581"


@dataclass(frozen=True)
class Vocabulary:
    """Tokens of a tokenizer.bin: texts (bytes, spaces as spaces) and scores, by id."""

    texts: list[bytes]
    scores: np.ndarray


def convert(model_file: str | Path, tokenizer_file: str | Path, folder: str | Path) -> Path:
    """Write the Hugging Face folder of a llama2.c model.

    Args:
        model_file: the .bin of weights.
        tokenizer_file: the tokenizer.bin that belongs to it.
        folder: where to write; an older model there is replaced.

    Returns:
        The folder.

    Raises:
        CheckpointError: a file is missing, truncated, of another format, or the two do not belong together.
    """
    model, config = read_model(model_file)
    tokenizer = read_tokenizer(tokenizer_file, config.vocab_size)
    return save_model(folder, model, config, tokenizer)


def read_model(file: str | Path) -> tuple[_core.Model, ModelConfig]:
    """Read a version 0 .bin file of weights.

    Raises:
        CheckpointError: missing, truncated, or not in this format; names the file.
    """
    data = _read(file)
    if len(data) < HEADER.size:
        raise CheckpointError(f"{file}: {len(data)} bytes are less than a llama2.c header of {HEADER.size}")
    dim, ffn, layers, heads, kv_heads, vocab, length = HEADER.unpack_from(data)
    shared, vocab = vocab > 0, abs(vocab)
    sizes = (dim, ffn, layers, heads, kv_heads, vocab, length)
    if min(sizes) <= 0 or max(sizes) > 1 << 24 or dim % heads or heads % kv_heads or (dim // heads) % 2:
        raise CheckpointError(
            f"{file}: not a llama2.c model of version 0: dim {dim}, hidden_dim {ffn}, layers {layers}, "
            f"heads {heads}, kv heads {kv_heads}, vocabulary {vocab}, length {length}"
        )
    config = ModelConfig(
        model_type="llama",
        vocab_size=vocab,
        hidden_size=dim,
        intermediate_size=ffn,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        head_dim=dim // heads,
        rms_norm_eps=1e-5,
        max_position_embeddings=length,
        tie_word_embeddings=shared,
        bos_token_id=BOS,
        eos_token_id=[BOS, EOS],  # stories are separated by BOS, so the model ends a text with it
    )
    rotary = length * (dim // heads)  # tables of cosines and sines, which follow from the sizes
    expected = HEADER.size + 4 * (config.num_parameters + rotary)
    if len(data) != expected:
        raise CheckpointError(f"{file}: has {len(data)} bytes, a llama2.c model of its sizes has {expected}")
    model = _core.Model(config.core_config())
    weights, numbers, offset = model.parameters(), np.frombuffer(data, "<f4", offset=HEADER.size), 0
    for name in _order(layers, shared):
        if name == "":
            offset += rotary
            continue
        target = weights[name]
        values = numbers[offset : offset + target.size].reshape(target.shape)
        offset += target.size
        if name.endswith(("q_proj.weight", "k_proj.weight")):
            values = _halves_from_pairs(values, config.head_dim)
        np.copyto(target, values)
    return model, config


def _order(layers: int, shared: bool) -> Iterator[str]:
    """Names of the tensors in the order of the file; "" stands for the rotary tables."""
    yield "model.embed_tokens.weight"
    for part in (
        "input_layernorm",
        "self_attn.q_proj",
        "self_attn.k_proj",
        "self_attn.v_proj",
        "self_attn.o_proj",
        "post_attention_layernorm",
        "mlp.gate_proj",
        "mlp.down_proj",
        "mlp.up_proj",
    ):
        for index in range(layers):
            yield f"model.layers.{index}.{part}.weight"
    yield "model.norm.weight"
    yield ""
    if not shared:
        yield "lm_head.weight"


def _halves_from_pairs(matrix: np.ndarray, head_dim: int) -> np.ndarray:
    """Rows of each head [D/2 pairs, 2] to [2, D/2 pairs]."""
    rows, columns = matrix.shape
    pairs = matrix.reshape(rows // head_dim, head_dim // 2, 2, columns)
    return pairs.transpose(0, 2, 1, 3).reshape(rows, columns)


def read_tokenizer(file: str | Path, vocab_size: int) -> Tokenizer:
    """Read a tokenizer.bin as a byte-fallback BPE that encodes as llama2.c does.

    Raises:
        CheckpointError: missing, truncated, or not in this format; names the file.
    """
    vocabulary = read_vocabulary(file, vocab_size)
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    pieces += [
        _text(text, file, NUM_CONTROL + 256 + i) for i, text in enumerate(vocabulary.texts[FIRST_TEXT:])
    ]
    ids = {piece: index for index, piece in enumerate(pieces)}
    if len(ids) != len(pieces):
        raise CheckpointError(f"{file}: two tokens have the same text")
    scores = {piece: float(vocabulary.scores[index]) for piece, index in ids.items() if index >= FIRST_TEXT}
    backend = tokenizers.Tokenizer(
        tokenizers.models.BPE(
            vocab=ids, merges=_merges(scores), unk_token="<unk>", fuse_unk=True, byte_fallback=True
        )
    )
    backend.normalizer = tokenizers.normalizers.Sequence(
        [tokenizers.normalizers.Prepend(SPACE), tokenizers.normalizers.Replace(" ", SPACE)]
    )
    backend.decoder = tokenizers.decoders.Sequence(
        [
            tokenizers.decoders.Replace(SPACE, " "),
            tokenizers.decoders.ByteFallback(),
            tokenizers.decoders.Fuse(),
            tokenizers.decoders.Strip(" ", 1, 0),
        ]
    )
    backend.post_processor = tokenizers.processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", BOS)]
    )
    backend.add_special_tokens(["<unk>", "<s>", "</s>"])
    config = {
        "bos_token": "<s>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "clean_up_tokenization_spaces": False,
    }
    return Tokenizer(backend, config=config, eos_token_ids=[BOS, EOS])


def read_vocabulary(file: str | Path, vocab_size: int) -> Vocabulary:
    """Scores and texts of a tokenizer.bin: int32 longest length; then float32 score, int32 length, bytes."""
    data, offset = _read(file), 4
    texts, scores = [], np.zeros(vocab_size, np.float32)
    for index in range(vocab_size):
        end = offset + 8
        length = struct.unpack_from("<i", data, offset + 4)[0] if end <= len(data) else -1
        if length < 0 or end + length > len(data):
            raise CheckpointError(
                f"{file}: ends within token {index} of {vocab_size}: not this model's tokenizer"
            )
        scores[index] = struct.unpack_from("<f", data, offset)[0]
        texts.append(data[end : end + length])
        offset = end + length
    if offset != len(data):
        raise CheckpointError(f"{file}: {len(data) - offset} bytes left after {vocab_size} tokens")
    if vocab_size < FIRST_TEXT or texts[NUM_CONTROL] != b"<0x00>" or texts[FIRST_TEXT - 1] != b"<0xFF>":
        raise CheckpointError(f"{file}: no byte tokens at ids {NUM_CONTROL} to {FIRST_TEXT - 1}")
    return Vocabulary(texts, scores)


def _text(raw: bytes, file: str | Path, index: int) -> str:
    try:
        return raw.decode("utf-8").replace(" ", SPACE)
    except UnicodeDecodeError as error:
        raise CheckpointError(f"{file}: token {index} is not UTF-8: {raw!r}") from error


def _merges(scores: dict[str, float]) -> list[tuple[str, str]]:
    """Every pair of tokens whose concatenation is a token, best score of the result first."""
    pairs = [
        (-score, cut, whole)
        for whole, score in scores.items()
        for cut in range(1, len(whole))
        if whole[:cut] in scores and whole[cut:] in scores
    ]
    return [(whole[:cut], whole[cut:]) for _, cut, whole in sorted(pairs)]


def _read(file: str | Path) -> bytes:
    try:
        return Path(file).read_bytes()
    except OSError as error:
        raise CheckpointError(f"{file}: cannot read: {error.strerror}") from error
