"""Model folders in Hugging Face's layout, written whole or not at all.

The folder is built beside its place, made durable, and moved there in one step. A crash, a full disk or
Ctrl-C leaves the folder that was there before. Weights stream from the model's memory to the file; nothing is
copied as a whole.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from .. import _core
from ..errors import ConfigError
from ..io import fsync_directory, json_bytes
from ..models.config import ModelConfig
from ..tokenizer import Tokenizer
from .reading import BLOCK_ELEMENTS, INDEX, SINGLE
from .swap import replace_folder

DTYPES = {"float32": ("F32", np.dtype("<f4")), "bfloat16": ("BF16", np.dtype(ml_dtypes.bfloat16))}
MODEL_FILES = frozenset(
    "config.json generation_config.json tokenizer.json tokenizer_config.json special_tokens_map.json "
    "added_tokens.json "
    "preprocessor_config.json vocab.json merges.txt tokenizer.model chat_template.jinja chat_template.json".split()
) | {INDEX}
UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}


def save_model(
    path: str | Path,
    model: _core.Model,
    config: ModelConfig,
    tokenizer: Tokenizer | None = None,
    generation_config: Mapping[str, Any] | None = None,
    *,
    dtype: str = "float32",
    max_shard_size: int | str = "5GB",
    more_files: Mapping[str, bytes] | None = None,
) -> Path:
    """Write a model folder that transformers loads, replacing one that is there.

    Model and tokenizer files of an old folder are replaced, all other files in it are kept.

    Args:
        path: the folder.
        tokenizer: None leaves the tokenizer out.
        generation_config: dict of generation_config.json; None or empty derives one from the special ids of
            `config` and `tokenizer`.
        dtype: "float32" (exact) or "bfloat16" (half the size, rounded).
        more_files: contents of further files by name, as an image processor's.
        max_shard_size: bytes, or a text such as "500MB"; larger models are split into several files.

    Raises:
        ConfigError: an unknown `dtype` or a malformed `max_shard_size`.
        OSError: disk full, no permission ...; what was at `path` is untouched and no temporary folder stays.
    """
    path = Path(path)
    _check_dtype(dtype)
    limit = parse_size(max_shard_size)

    def fill(folder: Path) -> None:
        write_model_files(
            folder,
            model,
            config,
            tokenizer,
            generation_config,
            dtype=dtype,
            max_shard_size=limit,
            more_files=more_files,
        )

    replace_folder(path, fill, is_own=_is_model_file)
    return path


def write_model_files(
    folder: str | Path,
    model: _core.Model,
    config: ModelConfig,
    tokenizer: Tokenizer | None = None,
    generation_config: Mapping[str, Any] | None = None,
    *,
    dtype: str = "float32",
    max_shard_size: int | str = "5GB",
    more_files: Mapping[str, bytes] | None = None,
) -> None:
    """Write a model's files into the existing `folder`, each flushed to disk. Not atomic."""
    folder = Path(folder)
    _check_dtype(dtype)
    as_stored = config.stored_shapes()
    weights = {name: array.reshape(as_stored[name]) for name, array in model.parameters().items()}
    shards = _shards(weights, DTYPES[dtype][1].itemsize, parse_size(max_shard_size))
    for name, tensors in shards.items():
        write_safetensors(folder / name, tensors, dtype)
    if len(shards) > 1:
        total = sum(
            array.size * DTYPES[dtype][1].itemsize for part in shards.values() for array in part.values()
        )
        weight_map = {tensor: name for name, part in shards.items() for tensor in part}
        index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))}
        _write(folder / INDEX, json_bytes(index))
    _write(folder / "config.json", json_bytes({**config.to_dict(), "torch_dtype": dtype}))
    if not generation_config:
        generation_config = _special_ids(config, tokenizer)
    _write(folder / "generation_config.json", json_bytes(dict(generation_config)))
    for name, data in {**(tokenizer.files() if tokenizer is not None else {}), **(more_files or {})}.items():
        _write(folder / name, data)
    fsync_directory(folder)


def write_safetensors(file: str | Path, tensors: Mapping[str, np.ndarray], dtype: str = "float32") -> None:
    """Write float32 arrays as one safetensors file: header length, JSON header, numbers end to end."""
    _check_dtype(dtype)
    label, target = DTYPES[dtype]
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name, array in tensors.items():
        end = offset + array.size * target.itemsize
        header[name] = {"dtype": label, "shape": list(array.shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header, separators=(",", ":")).encode("utf-8")
    text += b" " * (-len(text) % 8)
    with open(file, "wb") as handle:
        handle.write(len(text).to_bytes(8, "little") + text)
        for array in tensors.values():
            flat = np.ascontiguousarray(array, dtype=np.float32).reshape(-1)
            for start in range(0, flat.size, BLOCK_ELEMENTS):
                handle.write(flat[start : start + BLOCK_ELEMENTS].astype(target, copy=False).tobytes())
        handle.flush()
        os.fsync(handle.fileno())


def parse_size(size: int | str) -> int:
    """Bytes of a size such as 1000, "500MB", "2GiB" (MB = 10^6, MiB = 2^20).

    >>> parse_size("5GB"), parse_size("1KiB")
    (5000000000, 1024)
    """
    if isinstance(size, int) and not isinstance(size, bool) and size > 0:
        return size
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([A-Za-z]*)", size.strip()) if isinstance(size, str) else None
    if match and match[2].upper() in UNITS and float(match[1]) > 0:
        return max(1, math.floor(float(match[1]) * UNITS[match[2].upper()]))
    raise ConfigError(f"size: expected a number of bytes or a text like '5GB', got {size!r}")


def _shards(weights: Mapping[str, np.ndarray], itemsize: int, limit: int) -> dict[str, dict[str, np.ndarray]]:
    """Tensors by file, in the order of the network; a tensor above the limit has a file of its own."""
    parts: list[dict[str, np.ndarray]] = [{}]
    used = 0
    for name, array in weights.items():
        size = array.size * itemsize
        if parts[-1] and used + size > limit:
            parts.append({})
            used = 0
        parts[-1][name] = array
        used += size
    if len(parts) == 1:
        return {SINGLE: parts[0]}
    count = len(parts)
    return {f"model-{i:05d}-of-{count:05d}.safetensors": part for i, part in enumerate(parts, start=1)}


def _special_ids(config: ModelConfig, tokenizer: Tokenizer | None) -> dict[str, Any]:
    """A generation_config.json that says where texts begin and end: by the config, else the tokenizer."""
    ids: dict[str, Any] = {
        name: getattr(config, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")
    }
    if tokenizer is not None:
        ends = tokenizer.eos_token_ids
        own = {
            "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": (ends[0] if len(ends) == 1 else list(ends)) if ends else None,
            "pad_token_id": tokenizer.pad_token_id,
        }
        ids = {name: own[name] if value is None else value for name, value in ids.items()}
    return {name: value for name, value in ids.items() if value is not None}


def _is_model_file(name: str) -> bool:
    """Whether a file of an old model folder is superseded by a new one."""
    return name in MODEL_FILES or re.fullmatch(r"model(-\d{5}-of-\d{5})?\.safetensors", name) is not None


def _check_dtype(dtype: str) -> None:
    if dtype not in DTYPES:
        raise ConfigError(f"dtype: expected one of {', '.join(DTYPES)}, got {dtype!r}")


def _write(file: Path, data: bytes) -> None:
    with open(file, "wb") as handle:
        handle.write(data)
        handle.flush()
        os.fsync(handle.fileno())
