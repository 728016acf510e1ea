"""Fixtures that many tests share: the real data (where present), small tokenizers and policies made here."""

from __future__ import annotations

import os
from pathlib import Path

import package_under_test  # noqa: F401  (decides which ptagrpo the tests import; keep it before the others)
import pytest
import tokenizers

REPOSITORY = Path(__file__).resolve().parent.parent
FIXTURES = Path(__file__).resolve().parent / "fixtures"

TAGS = ["<plan>", "</plan>", "<think>", "</think>", "<answer>", "</answer>"]
WORDS = [*"0123456789", *"+-*=.?", "a", "b", "c", "is", "what", "the", "plan", "then", "add", "so"]
CHAT_TEMPLATE = (
    "{% for message in messages %}<|{{ message.role }}|>{{ message.content }}{{ eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of the real data (variable PTAGRPO_DATA, else ../shared/data beside the repository)."""
    folder = Path(os.environ.get("PTAGRPO_DATA") or REPOSITORY.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(
            f"no real data at {folder}: set PTAGRPO_DATA to the folder that has maths/, traces/, checkpoints/"
        )
    return folder


@pytest.fixture(scope="session")
def fixtures_dir() -> Path:
    """Folder of the small files that ship with the tests."""
    return FIXTURES


def make_byte_tokenizer(chat_template: str | None = CHAT_TEMPLATE):
    """A byte-level tokenizer without merges: 256 bytes, the tags as ordinary added tokens, <eos>, <pad>."""
    from ptagrpo.token_bytes import byte_level_alphabet
    from ptagrpo.tokenizer import Tokenizer

    vocabulary = {character: byte for character, byte in byte_level_alphabet().items()}
    backend = tokenizers.Tokenizer(tokenizers.models.BPE(vocab=vocabulary, merges=[]))
    backend.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = tokenizers.decoders.ByteLevel()
    backend.add_tokens([tokenizers.AddedToken(tag, normalized=False) for tag in TAGS])
    backend.add_special_tokens(["<eos>", "<pad>", "<|user|>", "<|assistant|>"])
    return Tokenizer(
        backend, config={"eos_token": "<eos>", "pad_token": "<pad>"}, chat_template=chat_template
    )


def make_word_tokenizer():
    """A word-level tokenizer over a few words and digits; decoding joins words with spaces."""
    from ptagrpo.tokenizer import Tokenizer

    words = {word: i for i, word in enumerate(["<unk>", *WORDS])}
    backend = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="<unk>"))
    backend.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    backend.add_tokens([tokenizers.AddedToken(tag, normalized=False) for tag in TAGS])
    backend.add_special_tokens(["<eos>", "<pad>"])
    return Tokenizer(backend, config={"eos_token": "<eos>", "pad_token": "<pad>", "unk_token": "<unk>"})


@pytest.fixture
def byte_tokenizer():
    """Factory: see `make_byte_tokenizer`."""
    return make_byte_tokenizer


@pytest.fixture
def word_tokenizer():
    """Factory: see `make_word_tokenizer`."""
    return make_word_tokenizer


@pytest.fixture
def tiny_config():
    """Factory `tiny_config(family="llama", vocab_size=64, **changes)` of a small config.json dict."""

    def make(family: str = "llama", vocab_size: int = 64, **changes) -> dict:
        config = {
            "model_type": family,
            "vocab_size": vocab_size,
            "hidden_size": 24,
            "intermediate_size": 40,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 8 if family == "qwen3" else 6,
            "rms_norm_eps": 1e-6,
            "rope_theta": 10000.0,
            "max_position_embeddings": 512,
            "tie_word_embeddings": family != "qwen2",
            "initializer_range": 0.2,
        }
        return {**config, **changes}

    return make


@pytest.fixture
def tiny_policy(tiny_config):
    """Factory `tiny_policy(family="llama", seed=0, tokenizer="byte", **config changes)`.

    tokenizer: "byte", "word" or a Tokenizer.
    """

    def make(family: str = "llama", seed: int = 0, tokenizer="byte", **changes):
        from ptagrpo.policy import Policy

        if isinstance(tokenizer, str):
            tokenizer = {"byte": make_byte_tokenizer, "word": make_word_tokenizer}[tokenizer]()
        config = tiny_config(family, vocab_size=changes.pop("vocab_size", tokenizer.vocab_size), **changes)
        return Policy.from_config(config, tokenizer, seed=seed)

    return make
