"""Weights from safetensors files into a model, tensor by tensor.

Every header of every file is checked before the first weight is written, so a damaged or unfitting checkpoint
leaves the model as it was. A tensor is read in blocks of rows, so that memory holds the model and one block,
never two copies. Blocks are read, not mapped: pages of a mapped file that have been touched count as the process's.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import safetensors

from .. import _core
from ..errors import CheckpointError
from ..models.config import ModelConfig, read_json_object
from .fitting import check_fits

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
FLOAT_TYPES: dict[str, Any] = {"F32": np.float32, "F16": np.float16, "BF16": ml_dtypes.bfloat16}
BLOCK_ELEMENTS = 1 << 22  # numbers converted at once


def load_model(
    path: str | Path,
    dtype: str = "float32",
    quantization: str | None = None,
    max_memory: str | int | None = None,
) -> tuple[_core.Model, ModelConfig]:
    """Read a model folder: config.json and safetensors weights (float32, float16 or bfloat16), to float32 masters or to
    frozen matrices. Memory holds the model in its final form and one block of rows.

    Args:
        dtype: the model's type of working weights and activations, "float32" or "bfloat16".
        quantization: "int8", "int4" or "bfloat16": the matrices are frozen, in that form alone.
        max_memory: see `fitting.check_fits`.

    Raises:
        CheckpointError: something is missing, damaged, or not supported; names the file and the tensor.
        ConfigError: it cannot fit into max_memory; nothing has been read.
        MemoryError: the model does not fit.
    """
    folder = Path(path)
    config = ModelConfig.from_file(folder / "config.json")
    if max_memory is not None:
        check_fits(str(path), config, dtype, quantization, max_memory)
    plan = _plan(folder, config)  # before allocating: a bad checkpoint costs nothing
    model = _core.Model(config.core_config(dtype, quantization))
    _read_all(folder, plan, model)
    return model, config


def load_weights(model: _core.Model, config: ModelConfig, path: str | Path) -> None:
    """Replace the weights of `model` by those of a folder with the same tensors.

    Raises:
        CheckpointError: as `load_model`; the model's weights are then as they were.
    """
    folder = Path(path)
    _read_all(folder, _plan(folder, config), model)


def load_generation_config(path: str | Path) -> dict[str, Any]:
    """The dict of generation_config.json, empty when the folder has none."""
    file = Path(path) / "generation_config.json"
    return read_json_object(file) if file.exists() else {}


def _plan(folder: Path, config: ModelConfig) -> dict[str, list[tuple[str, str]]]:
    """Which tensors to read from which file, as (name there, our name), after checking all headers against the model's
    tensors."""
    expected, ours = config.stored_shapes(), config.family.tensor_name or (lambda stored: stored)
    files = _weight_files(folder)
    found: dict[str, str] = {}
    plan: dict[str, list[tuple[str, str]]] = {}
    for file, listed in files.items():
        with _open(folder / file) as handle:
            names = set(handle.keys())
            if listed is not None and (absent := sorted(listed - names)):
                raise CheckpointError(
                    f"{folder / file}: lacks tensor {absent[0]!r}, which {INDEX} says it holds"
                )
            for stored in sorted(names if listed is None else listed):
                name = ours(stored)
                if name not in expected:
                    if _may_ignore(name, config):
                        continue
                    raise CheckpointError(
                        f"{folder / file}: unexpected tensor {stored!r}: the model has no such parameter"
                    )
                part = handle.get_slice(stored)
                shape, dtype = tuple(part.get_shape()), part.get_dtype()
                if shape != expected[name]:
                    raise CheckpointError(
                        f"{folder / file}: tensor {name!r} has shape {list(shape)}, config.json asks for "
                        f"{list(expected[name])}"
                    )
                if dtype not in FLOAT_TYPES:
                    raise CheckpointError(
                        f"{folder / file}: tensor {name!r} has type {dtype}; supported: "
                        f"{', '.join(FLOAT_TYPES)}"
                    )
                found[name] = file
                plan.setdefault(file, []).append((stored, name))
    if missing := [name for name in expected if name not in found]:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        where = folder / (next(iter(files)) if len(files) == 1 else INDEX)
        raise CheckpointError(f"{where}: missing tensor {missing[0]!r}{more}")
    return plan


def _weight_files(folder: Path) -> dict[str, set[str] | None]:
    """Weight files by name, each with the tensors that the index lists for it (None: all it holds)."""
    if (folder / SINGLE).exists():
        return {SINGLE: None}
    if not (folder / INDEX).exists():
        pickles = sorted(p.name for p in folder.glob("*.bin")) if folder.is_dir() else []
        hint = (
            f" ({pickles[0]} is a pickle, which is never read: convert it to safetensors)" if pickles else ""
        )
        raise CheckpointError(f"{folder}: has neither {SINGLE} nor {INDEX}{hint}")
    weight_map = read_json_object(folder / INDEX).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise CheckpointError(f"{folder / INDEX}: 'weight_map' must be an object of tensor names and files")
    files: dict[str, set[str] | None] = {}
    for name, file in weight_map.items():
        if not isinstance(file, str) or Path(file).name != file or not file.endswith(".safetensors"):
            raise CheckpointError(
                f"{folder / INDEX}: tensor {name!r} is mapped to {file!r}: not a .safetensors file name"
            )
        files.setdefault(file, set()).add(name)
    for file in sorted(files):
        if not (folder / file).exists():
            raise CheckpointError(f"{folder / file}: missing shard (named in {INDEX})")
    return dict(sorted(files.items()))


def _may_ignore(name: str, config: ModelConfig) -> bool:
    """Tensors that some checkpoints carry and no model here needs: a tied head's copy, rotary tables."""
    return (name == "lm_head.weight" and config.tie_word_embeddings) or name.endswith(".rotary_emb.inv_freq")


def _open(file: Path) -> Any:
    try:
        return safetensors.safe_open(str(file), framework="np")
    except (safetensors.SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{file}: not a whole safetensors file: {error}") from error


def _read_all(folder: Path, plan: Mapping[str, list[tuple[str, str]]], model: _core.Model) -> None:
    weights, frozen = model.parameters(), model.frozen_parameters()
    with ExitStack() as stack:  # all are open before the first weight is written
        handles = {file: stack.enter_context(open(folder / file, "rb", buffering=0)) for file in plan}
        for file, names in plan.items():
            header, data = read_header(folder / file)
            for stored, name in names:
                shape = frozen.get(name) or weights[name].shape
                for rows, block in _blocks(handles[file], header[stored], data, shape):
                    if name not in frozen:
                        weights[name][rows] = block
                        continue
                    try:
                        model.set_rows(name, rows.start, block.astype(np.float32))
                    except FloatingPointError as error:
                        raise CheckpointError(f"{folder / file}: {error}; it cannot be quantised") from error


def _blocks(
    handle: Any, entry: Mapping[str, Any], data: int, shape: tuple[int, ...]
) -> Iterator[tuple[slice, np.ndarray]]:
    """A tensor's rows, some at a time. entry: of the file's header; data: where the numbers of the file begin."""
    dtype = np.dtype(FLOAT_TYPES[entry["dtype"]])
    width = dtype.itemsize * int(np.prod(shape[1:], dtype=np.int64))
    for rows in _row_blocks(shape):
        block = np.empty((rows.stop - rows.start, *shape[1:]), dtype)
        handle.seek(data + entry["data_offsets"][0] + rows.start * width)
        view = memoryview(block.reshape(-1).view(np.uint8))
        while len(view):
            count = handle.readinto(view)
            if not count:
                raise CheckpointError(f"{handle.name}: ends before its last tensor")
            view = view[count:]
        yield rows, block


def _row_blocks(shape: tuple[int, ...]) -> Iterator[slice]:
    width = int(np.prod(shape[1:], dtype=np.int64))
    step = max(1, BLOCK_ELEMENTS // max(1, width))
    for start in range(0, shape[0], step):
        yield slice(start, min(start + step, shape[0]))


def read_header(file: Path) -> tuple[dict[str, Any], int]:
    """The JSON header of a safetensors file, unchecked, and where its numbers begin."""
    with open(file, "rb") as handle:
        size = int.from_bytes(handle.read(8), "little")
        return json.loads(handle.read(size)), 8 + size
