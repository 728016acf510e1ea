"""Text to token ids and back, from the tokenizer files of a Hugging Face folder, by the `tokenizers` library.

Reads tokenizer.json, or vocab.json + merges.txt of the Qwen family. A saved folder has tokenizer.json,
tokenizer_config.json, special_tokens_map.json and chat_template.jinja, which transformers reads too.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers

from . import chat
from .errors import CheckpointError, ConfigError
from .io import atomic_write_bytes, json_bytes
from .models.config import id_list, read_json_object
from .token_bytes import token_byte_table

SPECIAL_NAMES = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
QWEN2_CLASSES = ("Qwen2Tokenizer", "Qwen2TokenizerFast")
# Contractions; words with one leading non-letter; digits; punctuation with line ends; line ends; spaces.
QWEN2_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


class Tokenizer:
    """A tokenizer with its special tokens and chat template.

    Args:
        backend: the `tokenizers.Tokenizer` that does the work.
        config: the dict of a tokenizer_config.json (`eos_token`, `pad_token`, ...); kept when saving.
        chat_template: jinja text, or None for a model without chat form.
        eos_token_ids: ids that end a text, besides that of `config["eos_token"]`.

    Raises:
        ConfigError: `config` names a special token that the tokenizer does not have.
    """

    def __init__(
        self,
        backend: tokenizers.Tokenizer,
        *,
        config: Mapping[str, Any] | None = None,
        chat_template: str | None = None,
        eos_token_ids: Iterable[int] = (),
    ):
        self.backend = backend
        backend.no_truncation()
        backend.no_padding()
        self.config = {key: value for key, value in (config or {}).items() if key != "chat_template"}
        self.chat_template = chat_template
        self.special_tokens = {
            n: _content(self.config[n]) for n in SPECIAL_NAMES if self.config.get(n) is not None
        }
        for name, token in self.special_tokens.items():
            if name in ("bos_token", "eos_token", "pad_token") and backend.token_to_id(token) is None:
                raise ConfigError(f"{name} {token!r} is not a token of this tokenizer")
        own = [] if self.eos_token_id is None else [self.eos_token_id]
        self.eos_token_ids: list[int] = list(dict.fromkeys([*eos_token_ids, *own]))
        self._vocab_size = max(backend.get_vocab(with_added_tokens=True).values(), default=-1) + 1
        self._tables: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    @classmethod
    def from_folder(cls, path: str | Path) -> Tokenizer:
        """Read the tokenizer of a Hugging Face model folder.

        The ids that end a text are those of generation_config.json, config.json and the tokenizer's own
        `eos_token`.

        Raises:
            CheckpointError: no tokenizer files, a kind that cannot be read, or a damaged file; names it.
        """
        folder = Path(path)
        config = _optional_json(folder / "tokenizer_config.json")
        backend = _read_backend(folder, config)
        _add_configured_tokens(backend, config, folder / "tokenizer_config.json")
        ends: list[int] = []
        for name in ("generation_config.json", "config.json"):
            ends += id_list(_optional_json(folder / name).get("eos_token_id"))
        try:
            return cls(
                backend, config=config, chat_template=_read_template(folder, config), eos_token_ids=ends
            )
        except ConfigError as error:
            raise CheckpointError(f"{folder / 'tokenizer_config.json'}: {error}") from error

    @property
    def vocab_size(self) -> int:
        """One more than the largest token id. A model's vocabulary may be larger (padded), never smaller."""
        return self._vocab_size

    def __len__(self) -> int:
        return self.vocab_size

    @property
    def bos_token_id(self) -> int | None:
        """Id of the token that begins a text, or None."""
        return self._special_id("bos_token")

    @property
    def eos_token_id(self) -> int | None:
        """Id of the tokenizer's own `eos_token`, or None; `eos_token_ids` has all ids that end a text."""
        return self._special_id("eos_token")

    @property
    def pad_token_id(self) -> int | None:
        """Id of `pad_token`, or None. Nothing is ever padded here; the id is kept for other libraries."""
        return self._special_id("pad_token")

    def token_to_id(self, token: str) -> int | None:
        """Id of a token string, or None."""
        return self.backend.token_to_id(token)

    def encode(self, text: str, add_special_tokens: bool = False) -> list[int]:
        """Token ids of `text`.

        add_special_tokens: put the tokens around it that the tokenizer puts around a text (BOS).
        """
        return self.backend.encode(text, add_special_tokens=add_special_tokens).ids

    def encode_batch(self, texts: Sequence[str], add_special_tokens: bool = False) -> list[list[int]]:
        """`encode` of many texts at once."""
        return [e.ids for e in self.backend.encode_batch(list(texts), add_special_tokens=add_special_tokens)]

    def encode_prompt(self, text: str) -> list[int]:
        """Token ids of a text that the model is to continue: with BOS where this tokenizer uses one, exactly
        once.

        A rendered chat template often begins with BOS itself; it is not doubled.
        """
        bos = self.special_tokens.get("bos_token")
        return self.encode(text, add_special_tokens=not (bos and text.startswith(bos)))

    def decode(self, ids: Iterable[int], skip_special_tokens: bool = True) -> str:
        """Text of token ids. Bytes that are no UTF-8 become "\\ufffd"; ids that no token has are left out."""
        return self.backend.decode([int(i) for i in ids], skip_special_tokens=skip_special_tokens)

    def apply_chat_template(
        self,
        messages: Sequence[Mapping[str, Any]],
        add_generation_prompt: bool = True,
        *,
        chat_template: str | None = None,
        **variables: Any,
    ) -> str:
        """Render chat messages to text (see `chat.render`).

        Raises:
            ConfigError: there is no chat template.
            DataError: the template refuses the messages.
        """
        template = chat_template if chat_template is not None else self.chat_template
        if template is None:
            raise ConfigError(
                "this tokenizer has no chat template, so chat messages cannot be rendered: pass plain text "
                "prompts, or set tokenizer.chat_template"
            )
        return chat.render(
            template,
            messages,
            add_generation_prompt=add_generation_prompt,
            special_tokens=self.special_tokens,
            **variables,
        )

    def token_bytes(self, vocab_size: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """The bytes of every token (see `token_bytes.py`), as `ptagrpo._core.StopTable` takes them.

        Args:
            vocab_size: entries of the table, at least the tokenizer's own; further ids have no bytes.
                Default: its own.

        Returns:
            (uint8[total], int64[vocab_size + 1]) bytes end to end and where each token's begin.
        """
        size = self.vocab_size if vocab_size is None else int(vocab_size)
        if size < self.vocab_size:
            raise ConfigError(f"vocab_size {size} is smaller than the tokenizer's {self.vocab_size}")
        if size not in self._tables:
            decoder = (
                json.loads(self.backend.to_str())["decoder"] if self.backend.decoder is not None else None
            )
            self._tables[size] = token_byte_table(map(self.backend.id_to_token, range(size)), decoder)
        return self._tables[size]

    def files(self) -> dict[str, bytes]:
        """Name and content of every file of a saved tokenizer."""
        config = {"tokenizer_class": "PreTrainedTokenizerFast", **self.config}
        special: dict[str, Any] = {name: self.config[name] for name in self.special_tokens}
        if self.config.get("additional_special_tokens"):
            special["additional_special_tokens"] = self.config["additional_special_tokens"]
        files = {
            "tokenizer.json": self.backend.to_str(pretty=True).encode("utf-8"),
            "tokenizer_config.json": json_bytes(config),
            "special_tokens_map.json": json_bytes(special),
        }
        if self.chat_template is not None:
            files["chat_template.jinja"] = self.chat_template.encode("utf-8")
        return files

    def save(self, path: str | Path) -> None:
        """Write the tokenizer's files into the folder `path` (made if missing)."""
        folder = Path(path)
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in self.files().items():
            atomic_write_bytes(folder / name, data)

    def fingerprint(self) -> str:
        """Hex SHA-256 over vocabulary, rules and chat template: equal ones encode alike."""
        digest = hashlib.sha256(self.backend.to_str().encode("utf-8"))
        digest.update(repr((self.chat_template, sorted(self.special_tokens.items()))).encode("utf-8"))
        return digest.hexdigest()

    def _special_id(self, name: str) -> int | None:
        token = self.special_tokens.get(name)
        return None if token is None else self.backend.token_to_id(token)


def _content(token: str | Mapping[str, Any]) -> str:
    """A special token as configs write it: a string, or a dict with `content`."""
    return token["content"] if isinstance(token, Mapping) else token


def _optional_json(path: Path) -> dict[str, Any]:
    return read_json_object(path) if path.exists() else {}


def _read_backend(folder: Path, config: Mapping[str, Any]) -> tokenizers.Tokenizer:
    whole, vocab, merges = (folder / name for name in ("tokenizer.json", "vocab.json", "merges.txt"))
    if whole.exists():
        try:
            return tokenizers.Tokenizer.from_file(str(whole))
        except Exception as error:  # the library raises plain Exception
            raise CheckpointError(f"{whole}: cannot read the tokenizer: {error}") from error
    if vocab.exists() and merges.exists():
        kind = config.get("tokenizer_class")
        if kind not in QWEN2_CLASSES:
            raise CheckpointError(
                f"{folder}: has vocab.json and merges.txt but no tokenizer.json, and its tokenizer_class "
                f"{kind!r} is not one of {', '.join(QWEN2_CLASSES)}: how it splits text is not known. "
                "Save it with a tokenizer.json"
            )
        return _build_qwen2(vocab, merges, bool(config.get("add_prefix_space")))
    present = "tokenizer.model (sentencepiece) but " if (folder / "tokenizer.model").exists() else ""
    raise CheckpointError(
        f"{folder}: has {present}no tokenizer.json (nor vocab.json with merges.txt). "
        "Load it once with transformers' fast tokenizer and save it to get a tokenizer.json"
    )


def _build_qwen2(vocab: Path, merges: Path, add_prefix_space: bool) -> tokenizers.Tokenizer:
    """Byte-level BPE over NFC text, split as the Qwen2 tokenizer splits it."""
    try:
        model = tokenizers.models.BPE.from_file(str(vocab), str(merges))
    except Exception as error:
        raise CheckpointError(f"{vocab}, {merges.name}: cannot read the vocabulary: {error}") from error
    backend = tokenizers.Tokenizer(model)
    backend.normalizer = tokenizers.normalizers.NFC()
    backend.pre_tokenizer = tokenizers.pre_tokenizers.Sequence(
        [
            tokenizers.pre_tokenizers.Split(tokenizers.Regex(QWEN2_SPLIT), behavior="isolated"),
            tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=add_prefix_space, use_regex=False),
        ]
    )
    backend.decoder = tokenizers.decoders.ByteLevel()
    return backend


def _add_configured_tokens(backend: tokenizers.Tokenizer, config: Mapping[str, Any], where: Path) -> None:
    """Add the tokens of `added_tokens_decoder` that the backend lacks, each under its listed id."""
    listed = {int(key): value for key, value in (config.get("added_tokens_decoder") or {}).items()}
    for index, token in sorted(listed.items()):
        content = token["content"]
        if backend.token_to_id(content) != index or not _is_added(backend, index):
            flags = {
                k: bool(token.get(k, False))
                for k in ("lstrip", "rstrip", "normalized", "single_word", "special")
            }
            added = tokenizers.AddedToken(content, **flags)
            (backend.add_special_tokens if flags["special"] else backend.add_tokens)([added])
        got = backend.token_to_id(content)
        if got != index:
            raise CheckpointError(
                f"{where}: added token {content!r} is listed with id {index} but gets id {got}"
            )


def _is_added(backend: tokenizers.Tokenizer, index: int) -> bool:
    return index in backend.get_added_tokens_decoder()


def _read_template(folder: Path, config: Mapping[str, Any]) -> str | None:
    """chat_template.jinja, else chat_template.json, else the key in tokenizer_config.json."""
    plain = folder / "chat_template.jinja"
    if plain.exists():
        return plain.read_text(encoding="utf-8")
    template = _optional_json(folder / "chat_template.json").get("chat_template", config.get("chat_template"))
    if isinstance(template, list):
        named = {entry["name"]: entry["template"] for entry in template}
        return named.get("default", next(iter(named.values()), None))
    return template
