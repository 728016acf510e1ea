"""A policy: a model with its tokenizer. Loads, saves, scores sequences and generates.

policy = ptagrpo.load("path or hub id")
policy.generate(["Once upon a time"], max_new_tokens=20)[0][0].text
"""

from __future__ import annotations

import contextlib
import os
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from . import _core, lora, rng
from .checkpoint import (
    load_generation_config,
    load_model,
    load_weights,
    resolve_folder,
    save_model,
    write_model_files,
)
from .checkpoint.swap import replace_folder
from .errors import CheckpointError, ConfigError, DataError
from .generation import Completion, Prompt, encode, generate, sights
from .models import ModelConfig
from .records import Encoded, Picture
from .tokenizer import Tokenizer
from .vision import ImageProcessor, pixels_and_grids

BLOCK_NUMBERS = 1 << 22  # random numbers made at once
LOGPROB_TOKENS = 8192  # tokens of one forward pass when scoring


class Policy:
    """A decoder with its tokenizer.

    Attributes:
        model: the `_core.Model` that holds the weights (float32 masters; see `dtype`).
        config: sizes and switches.
        tokenizer: text to ids and back.
        generation_config: dict of generation_config.json, kept when saving.
        lora_config: of the adapter that is trained instead of the weights, or None.
        source: the path or hub id that it was loaded from, or None.
        image_processor: how images become patches; None: the model reads text only.

    Raises:
        ConfigError: the tokenizer has more tokens than the model's vocabulary.
    """

    def __init__(
        self,
        model: _core.Model,
        config: ModelConfig,
        tokenizer: Tokenizer,
        generation_config: Mapping[str, Any] | None = None,
        image_processor: ImageProcessor | None = None,
    ):
        if tokenizer.vocab_size > config.vocab_size:
            raise ConfigError(
                f"the tokenizer has {tokenizer.vocab_size} tokens, more than the model's "
                f"vocab_size {config.vocab_size}"
            )
        self.model = model
        self.config = config
        self.tokenizer = tokenizer
        self.generation_config = dict(generation_config or {})
        self.lora_config: lora.LoraConfig | None = None
        self.source: str | None = None
        self.image_processor = ImageProcessor.for_tower(config.vision, image_processor)
        self._stop_tables: dict[tuple[str, ...], _core.StopTable] = {}
        self._looked: weakref.WeakKeyDictionary[Picture, np.ndarray] = weakref.WeakKeyDictionary()

    @classmethod
    def from_pretrained(
        cls,
        path_or_repo: str | os.PathLike[str],
        *,
        revision: str | None = None,
        token: str | bool | None = None,
        local_files_only: bool = False,
        cache_dir: str | os.PathLike[str] | None = None,
        dtype: str = "float32",
        quantization: str | None = None,
        max_memory: str | int | None = None,
    ) -> Policy:
        """Load a Hugging Face folder, or a hub id through huggingface_hub (see `checkpoint.resolve_folder`).

        A folder with an adapter_config.json is an adapter as PEFT writes it: its base is loaded, the adapter on top.

        Args:
            dtype: "bfloat16" samples and trains with bfloat16 working weights and activations, summing in
                float32; the weights that are trained and saved stay float32 in either case.
            quantization: "int8" or "int4" (or "bfloat16"): the matrices are frozen and kept in that form alone, a
                quarter, an eighth (or half) of float32's memory. An adapter on top can be trained (`add_adapter`).
            max_memory: what the process may take, such as "12GiB" or "50%" of the machine's: a model that cannot fit is
                refused before a weight is read. Loading itself takes the model and one tensor at most.

        Raises:
            ConfigError: it cannot fit into max_memory; says which quantization would.
            CheckpointError: something is missing, damaged or not supported; names the file, key or tensor.
        """
        folder = resolve_folder(
            path_or_repo,
            revision=revision,
            token=token,
            local_files_only=local_files_only,
            cache_dir=cache_dir,
        )
        if (Path(folder) / lora.CONFIG).exists():
            adapter = lora.read_config(folder)
            if adapter.base_model_name_or_path is None:
                raise CheckpointError(
                    f"{folder}: {lora.CONFIG} names no base model; load it and call load_adapter"
                )
            base = cls.from_pretrained(
                adapter.base_model_name_or_path, token=token, local_files_only=local_files_only, cache_dir=cache_dir,
                dtype=dtype, quantization=quantization, max_memory=max_memory,
            )  # fmt: skip
            base.load_adapter(folder)
            return base
        tokenizer = Tokenizer.from_folder(folder)
        model, config = load_model(folder, dtype, quantization, max_memory)
        processor = None if config.vision is None else ImageProcessor.from_folder(folder)
        policy = cls(model, config, tokenizer, load_generation_config(folder), processor)
        policy.source = str(path_or_repo)
        return policy

    @classmethod
    def from_config(
        cls,
        config: ModelConfig | Mapping[str, Any],
        tokenizer: Tokenizer,
        seed: int = 0,
        dtype: str = "float32",
        quantization: str | None = None,
    ) -> Policy:
        """A policy with random weights: matrices N(0, initializer_range²), norms 1, biases 0.

        The numbers of a tensor depend on `seed` and the tensor's name alone.

        Args:
            config: a ModelConfig, or the dict of a config.json.
            dtype, quantization: as `from_pretrained`. Frozen matrices are made in place, a block of rows at a time.

        Raises:
            ConfigError: `config` is not a model that can be built.
        """
        if not isinstance(config, ModelConfig):
            config = ModelConfig.from_dict(config)
        model = _core.Model(config.core_config(dtype, quantization))
        scale = np.float32(config.initializer_range)
        for name, weight in model.parameters().items():
            if weight.ndim == 1:
                weight[...] = 0.0 if name.endswith(".bias") else 1.0
            else:
                _generator(seed, name).standard_normal(out=weight.reshape(-1), dtype=np.float32)
                weight *= scale
        for name, (rows, columns) in model.frozen_parameters().items():
            generator, step = _generator(seed, name), max(1, BLOCK_NUMBERS // columns)
            for start in range(0, rows, step):
                count = min(step, rows - start)
                block = generator.standard_normal(count * columns, dtype=np.float32).reshape(count, columns)
                model.set_rows(name, start, block * scale)
        return cls(model, config, tokenizer)

    @property
    def num_parameters(self) -> int:
        """How many numbers are trained (a tied head counts once; of an adapter, only its own)."""
        return self.model.num_parameters

    @property
    def dtype(self) -> str:
        """Type of working weights and activations: "float32" or "bfloat16"."""
        return str(self.model.config["dtype"])

    @property
    def quantization(self) -> str | None:
        """How frozen matrices are kept: "int8", "int4", "bfloat16"; None: they are float32 masters."""
        kind = self.model.config["weights"]
        return None if kind == "trained" else kind

    @property
    def accepts_images(self) -> bool:
        """Whether prompts may have images."""
        return self.image_processor is not None

    def eyes(self, what: str = "prompt") -> ImageProcessor:
        """The image processor.

        Raises:
            ConfigError: the model reads text only.
        """
        if self.image_processor is None:
            raise ConfigError(
                f"{what}: has images, and this model ({self.config.model_type}) reads text only"
            )
        return self.image_processor

    def encode(self, prompt: Prompt, what: str = "prompt") -> Encoded:
        """A prompt as the model takes it: token ids and pictures (see `generation.encode`)."""
        return encode(self, prompt, what)

    def look(self, pictures: Sequence[Picture], *, keep: bool = False) -> np.ndarray:
        """What the language model gets of some pictures: float32[rows, hidden_size], one after the other. As long as
        the tower is not trained, a picture is computed once.

        Args:
            keep: record what the gradients of a trained tower need (`model.see_backward`).
        """
        if keep or self.model.tower_trained:
            return self.model.see(*pixels_and_grids(pictures), keep=keep)
        for picture in dict.fromkeys(pictures):
            if picture not in self._looked:
                self._looked[picture] = self.model.see(*pixels_and_grids([picture]))
        return np.concatenate([self._looked[picture] for picture in pictures])

    def logprobs(
        self, sequences: Iterable[Sequence[int] | Encoded], *, temperature: float = 1.0
    ) -> list[np.ndarray]:
        """Log-probability of every next token.

        Args:
            sequences: token ids, each of length T ≥ 1; or, with images, what `encode` gives.
            temperature: divides the logits.

        Returns:
            One float32 array (T − 1,) a sequence: entry `t` is log p(token t + 1 | tokens 0 … t), in nats.

        Raises:
            DataError: an empty sequence, or an id outside the model's vocabulary; names the sequence and
                position.
        """
        whole = [ids if isinstance(ids, Encoded) else Encoded(self.check_ids(ids, f"sequence {index}"))
                 for index, ids in enumerate(sequences)]  # fmt: skip
        results: list[np.ndarray] = []
        for part in _by_tokens(whole, LOGPROB_TOKENS):
            lengths = np.array([len(sequence) for sequence in part])
            offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
            tokens = np.concatenate([sequence.ids for sequence in part])
            forest = _core.Forest(
                tokens, offsets, np.full(len(part), -1, np.int32), *sights(self, part, offsets)
            )
            inner = np.ones(tokens.size, bool)
            inner[offsets[1:] - 1] = False  # the last token of a sequence predicts nothing
            source = np.flatnonzero(inner).astype(np.int32)
            if source.size:
                target = np.ascontiguousarray(tokens[source + 1])
                values, _ = self.model.forward(forest, source, target, temperature=temperature, keep=False)
            else:
                values = np.zeros(0, np.float32)
            results += np.split(values, np.cumsum(lengths - 1)[:-1])
        return results

    def generate(
        self,
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
        """Continue each prompt `n` times (see `generation.generate`)."""
        return generate(
            self,
            prompts,
            n=n,
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            top_p=top_p,
            top_k=top_k,
            min_p=min_p,
            stop=stop,
            seed=seed,
            keys=keys,
            batch_size=batch_size,
            progress=progress,
        )

    def stop_table(self, strings: Sequence[str]) -> _core.StopTable:
        """The table that stops sampling once the generated text contains one of `strings`; kept for the next
        call.

        Raises:
            ConfigError: an empty string, or a tokenizer whose token bytes are not known.
        """
        wanted = tuple(dict.fromkeys([strings] if isinstance(strings, str) else strings))
        if wanted not in self._stop_tables:
            if any(not isinstance(string, str) or not string for string in wanted):
                raise ConfigError(f"stop: expected strings that are not empty, got {list(wanted)!r}")
            token_bytes, token_offsets = self.tokenizer.token_bytes(self.config.vocab_size)
            pieces = [string.encode("utf-8") for string in wanted]
            offsets = np.concatenate([[0], np.cumsum([len(piece) for piece in pieces])]).astype(np.int32)
            stop_bytes = np.frombuffer(b"".join(pieces), np.uint8)
            self._stop_tables[wanted] = _core.StopTable(token_bytes, token_offsets, stop_bytes, offsets)
        return self._stop_tables[wanted]

    def save(
        self, path: str | os.PathLike[str], *, dtype: str = "float32", max_shard_size: int | str = "5GB"
    ) -> Path:
        """Write a Hugging Face folder that transformers loads (see `checkpoint.save_model`); of a policy with an
        adapter, the adapter alone, in a folder that PEFT loads.
        """
        self._check_saved_whole()
        if self.lora_config is None:
            return save_model(
                Path(path), self.model, self.config, self.tokenizer, self.generation_config or None, dtype=dtype,
                max_shard_size=max_shard_size, more_files=self._processor_files(),
            )  # fmt: skip
        replace_folder(Path(path), self.write_files, is_own=lambda name: name in (lora.WEIGHTS, lora.CONFIG))
        return Path(path)

    save_pretrained = save

    def write_files(self, folder: str | os.PathLike[str]) -> None:
        """Write what `save` writes into an existing folder, each file flushed to disk. Not atomic."""
        self._check_saved_whole()
        if self.lora_config is None:
            write_model_files(Path(folder), self.model, self.config, self.tokenizer, self.generation_config or None,
                              more_files=self._processor_files())  # fmt: skip
            return
        lora.write_adapter(Path(folder), self.model, self.lora_config, self.config.family)
        for name, data in self.tokenizer.files().items():
            (Path(folder) / name).write_bytes(data)

    def add_adapter(self, config: lora.LoraConfig | Mapping[str, Any] | Any, seed: int = 0) -> None:
        """Train low-rank matrices from now on, and leave the weights as they are (see `lora`).

        Args:
            config: a LoraConfig, one of PEFT's, or a mapping with its names.

        Raises:
            ConfigError: the policy has an adapter, or `config` asks for something that is not supported.
        """
        config = lora.LoraConfig.of(config)
        if self.lora_config is not None:
            raise ConfigError("the policy has an adapter already: call merge_adapter() first")
        if config.base_model_name_or_path is None and self.source is not None:
            config = replace(config, base_model_name_or_path=self.source)
        lora.attach(self.model, config, seed)
        self.lora_config = config

    def load_adapter(self, folder: str | os.PathLike[str]) -> None:
        """Put an adapter that PEFT or this package saved on top of the weights.

        Raises:
            ConfigError: the policy has an adapter. CheckpointError: damaged, not supported, or for another model (names
                the tensor and the shapes); the policy is then as it was.
        """
        self.add_adapter(lora.read_config(Path(folder)))
        try:
            lora.read_weights(Path(folder), self.model, self.config.family)
        except BaseException:
            self.model.remove_adapter()
            self.lora_config = None
            raise

    def merge_adapter(self) -> None:
        """Add the adapter to the weights; afterwards the policy is an ordinary one, which `save` writes whole.

        Raises:
            ConfigError: there is no adapter.
        """
        if self.lora_config is None:
            raise ConfigError("merge_adapter: the policy has no adapter")
        if self.quantization is not None:
            raise ConfigError(
                f"merge_adapter: the weights are frozen as {self.quantization}; save the adapter, load it without "
                "quantization and merge there"
            )
        lora.merge(self.model)
        self.lora_config = None

    @contextlib.contextmanager
    def disable_adapter(self) -> Iterator[None]:
        """Inside, the policy computes what its weights alone do, to the bit: the reference policy of a LoRA run."""
        before = self.model.adapter_enabled
        if self.lora_config is not None:
            self.model.adapter_enabled = False
        try:
            yield
        finally:
            if self.lora_config is not None:
                self.model.adapter_enabled = before

    def with_tokenizer(self, tokenizer: Tokenizer) -> Policy:
        """A policy of the same model (not a copy of it) and adapter with another tokenizer."""
        other = Policy(self.model, self.config, tokenizer, self.generation_config, self.image_processor)
        other.source, other.lora_config = self.source, self.lora_config
        return other

    def named_weights(self) -> dict[str, np.ndarray]:
        """All weights by name: the model's, and its adapter's. Views; do not keep them."""
        adapter = {} if self.lora_config is None else self.model.adapter_parameters()
        return {**self.model.parameters(), **adapter}

    def clone(self) -> Policy:
        """A policy with weights of its own, equal to these now. The tokenizer is shared.

        Raises:
            ConfigError: the weights are frozen.
        """
        if self.quantization is not None:
            raise ConfigError(
                f"clone: the weights are frozen as {self.quantization}; load them a second time"
            )
        model = _core.Model(self.config.core_config(self.dtype))
        copy = Policy(model, self.config, self.tokenizer, self.generation_config, self.image_processor)
        copy.source = self.source
        if self.lora_config is not None:
            copy.add_adapter(self.lora_config)
        copy.load_weights_from(self)
        return copy

    def load_weights_from(self, source: Policy | str | os.PathLike[str]) -> None:
        """Replace the weights by those of another policy or of a folder of the same shape. A policy with an adapter
        reads the adapter alone from a folder.

        Raises:
            ConfigError: the other policy has other tensors; CheckpointError: the folder's do not fit. The
            weights are then as they were.
        """
        self._looked.clear()
        if not isinstance(source, Policy):
            if self.lora_config is None:
                load_weights(self.model, self.config, Path(source))
            else:
                lora.read_weights(Path(source), self.model, self.config.family)
            return
        own, other = self.named_weights(), source.named_weights()
        shapes = {name: weight.shape for name, weight in other.items()}
        if shapes != {name: weight.shape for name, weight in own.items()}:
            raise ConfigError("load_weights_from: the other policy has other tensors or shapes")
        for name, weight in own.items():
            np.copyto(weight, other[name])

    def _processor_files(self) -> dict[str, bytes]:
        return {} if self.image_processor is None else self.image_processor.files()

    def _check_saved_whole(self) -> None:
        if self.quantization is not None and self.lora_config is None:
            raise ConfigError(
                f"save: the weights are frozen as {self.quantization} and lost precision: there is nothing to save "
                "that the folder they came from has not; with an adapter, the adapter is saved"
            )

    def check_ids(self, ids: Sequence[int] | np.ndarray, what: str) -> np.ndarray:
        """Token ids as int32[T], T ≥ 1.

        Raises:
            DataError: empty, not integers, or an id outside the model's vocabulary.
        """
        array = np.asarray(ids)
        if array.ndim != 1 or array.size == 0 or array.dtype.kind not in "iu":
            shape = f"shape {array.shape} of {array.dtype}"
            raise DataError(f"{what}: expected one or more token ids in a flat list of integers, got {shape}")
        bad = np.flatnonzero((array < 0) | (array >= self.config.vocab_size))
        if bad.size:
            raise DataError(
                f"{what}: token id {int(array[bad[0]])} at position {int(bad[0])} is outside the vocabulary "
                f"(0 to {self.config.vocab_size - 1})"
            )
        return array.astype(np.int32)


def load(path_or_repo: str | os.PathLike[str], **options: Any) -> Policy:
    """Load a policy from a folder or a hub id: `Policy.from_pretrained` by a shorter name."""
    return Policy.from_pretrained(path_or_repo, **options)


def _generator(seed: int, name: str) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=rng.key(seed, "init", name)))


def _by_tokens(sequences: Sequence[Encoded], budget: int) -> Iterable[list[Encoded]]:
    """Consecutive runs of sequences with at most `budget` tokens together (a longer one alone)."""
    part: list[Encoded] = []
    used = 0
    for sequence in sequences:
        if part and used + len(sequence) > budget:
            yield part
            part, used = [], 0
        part.append(sequence)
        used += len(sequence)
    if part:
        yield part
