"""What is in a training checkpoint, and how it gets there and back. Where it is: `run_store.py`.

model files             a Hugging Face folder, or an adapter's as PEFT has it: the checkpoint loads anywhere
optimizer.safetensors   AdamW's moments, "m.<tensor>" and "v.<tensor>", float32; not with save_only_model
rollout.safetensors     (and rollout.json) a rollout that is not used up yet, RL only
trainer_state.json      global_step, log_history, ... as the Hugging Face Trainer has them; "ptagrpo": ours
training_args.json      all options
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
from safetensors.numpy import load_file

from .. import _core
from ..checkpoint.writing import write_safetensors
from ..errors import CheckpointError
from ..io import atomic_write_json
from ..policy import Policy
from .callbacks import TrainerState
from .options import Config

OPTIMIZER, STATE, ARGS = "optimizer.safetensors", "trainer_state.json", "training_args.json"


def write(
    folder: Path,
    policy: Policy,
    optimizer: _core.AdamW,
    state: TrainerState,
    args: Config,
    private: Mapping[str, Any],
) -> None:
    """Write everything but the rollout into the existing `folder`. `private` goes under "ptagrpo" in the
    state.
    """
    policy.write_files(folder)
    if not args.save_only_model:
        moments = optimizer.moments()
        tensors = {f"{kind}.{name}": pair[i] for i, kind in enumerate("mv") for name, pair in moments.items()}
        write_safetensors(folder / OPTIMIZER, tensors)
    extra = {
        "save_steps": args.save_steps,
        "logging_steps": args.logging_steps,
        "total_flos": 0,
        "stateful_callbacks": {},
    }
    own = {**private, "optimizer_step": optimizer.step_count}
    atomic_write_json(folder / STATE, {**asdict(state), **extra, "ptagrpo": own})
    atomic_write_json(folder / ARGS, {"class": type(args).__name__, **args.to_dict()})


def read_state(folder: Path) -> tuple[TrainerState, dict[str, Any]]:
    """The trainer state and the private part of a checkpoint.

    Raises:
        CheckpointError: trainer_state.json is missing or is not one of ours.
    """
    try:
        values = json.loads((folder / STATE).read_text(encoding="utf-8"))
        names = {field.name for field in fields(TrainerState)}
        state = TrainerState(**{name: value for name, value in values.items() if name in names})
        return state, dict(values["ptagrpo"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{folder / STATE}: is not the state of a ptagrpo training run: {error!r}"
        ) from error


def load(folder: Path, policy: Policy, optimizer: _core.AdamW, optimizer_step: int) -> None:
    """Put weights and moments of a checkpoint into the policy and its optimizer.

    Raises:
        CheckpointError: tensors are missing or have other shapes; nothing has changed then.
    """
    file = folder / OPTIMIZER
    if not file.exists():
        raise CheckpointError(
            f"{file}: is not there: the checkpoint was written with save_only_model, and a run cannot go on from it; "
            f"start a new run with {folder} as its model"
        )
    targets = {
        f"{kind}.{n}": pair[i] for i, kind in enumerate("mv") for n, pair in optimizer.moments().items()
    }
    try:
        with safetensors.safe_open(file, framework="numpy") as tensors:  # one tensor at a time in memory
            present = set(tensors.keys())
            for name, target in targets.items():
                found = tensors.get_slice(name) if name in present else None
                got = None if found is None else (found.get_dtype(), tuple(found.get_shape()))
                if got != ("F32", target.shape):
                    raise CheckpointError(f"{file}: {name}: expected ('F32', {target.shape}), found {got}")
            policy.load_weights_from(folder)
            for name, target in targets.items():
                target[...] = tensors.get_tensor(name)
    except (OSError, safetensors.SafetensorError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f"{file}: cannot be read: {error}") from error
    optimizer.step_count = optimizer_step


def reset(optimizer: _core.AdamW) -> None:
    """Make the optimizer as new."""
    for pair in optimizer.moments().values():
        for moment in pair:
            moment[...] = 0.0
    optimizer.step_count = 0


def read_tensors(path: Path) -> dict[str, np.ndarray]:
    """All tensors of a safetensors file.

    Raises:
        CheckpointError: it is missing or damaged.
    """
    try:
        return load_file(path)
    except (OSError, safetensors.SafetensorError) as error:
        raise CheckpointError(f"{path}: cannot be read: {error}") from error
