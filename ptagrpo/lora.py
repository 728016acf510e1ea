"""LoRA (Hu et al. 2021): train low-rank matrices beside frozen weights, in PEFT's names and files.

A projection computes y = W x + s B A x with A [r, in] and B [out, r]; s is lora_alpha / r, or lora_alpha / sqrt(r) with
`use_rslora` (Kalajdzievski 2023). B starts at zero, so a new adapter changes nothing. Only A and B have gradients and
moments, and only they are saved; without them the model is the reference policy, for free.

    policy = ptagrpo.load("base")
    trainer = ptagrpo.SFTTrainer(policy, args, rows, peft_config=ptagrpo.LoraConfig(r=16, lora_alpha=32))
    trainer.train(); trainer.save_model("adapter")    # PEFT loads it, and so does ptagrpo.load("adapter")
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import safetensors

from . import _core, rng
from .checkpoint.writing import write_safetensors
from .errors import CheckpointError, ConfigError, did_you_mean
from .io import atomic_write_json
from .models import FamilySpec

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"
TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
PREFIX = "base_model.model."  # PEFT's, before the names of the base model
BLOCK = {name: "self_attn" if name in TARGETS[:4] else "mlp" for name in TARGETS}
# Options of PEFT's LoraConfig that are not supported -> values that ask for nothing.
REFUSED: dict[str, tuple[Any, ...]] = {
    "bias": ("none",), "modules_to_save": (None, []), "use_dora": (False,), "rank_pattern": ({}, None),
    "alpha_pattern": ({}, None), "layers_to_transform": (None,), "layers_pattern": (None,), "fan_in_fan_out": (False,),
    "exclude_modules": (None, []), "init_lora_weights": (True,), "loftq_config": ({}, None), "use_qalora": (False,),
    "layer_replication": (None,), "trainable_token_indices": (None,), "target_parameters": (None, []),
    "corda_config": (None,), "eva_config": (None,), "lora_bias": (False,), "megatron_config": (None,),
}  # fmt: skip


@dataclass(frozen=True)
class LoraConfig:
    """What to adapt, and how. Names and defaults are PEFT's.

    Args:
        r: rank. lora_alpha: scale before it is divided by r (by its root with `use_rslora`).
        target_modules: names among q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj; "all-linear" is all
            of them, None q_proj and v_proj. A string that is none of these is PEFT's regular expression for whole names
            of modules; what it says of the first layer's is taken for all layers.
        lora_dropout: probability, at least 0 and below 1, with which a training step leaves an element of an adapter's
            input out, drawn anew for every projection, row and step (docs/lora.md); never while sampling or evaluating.
        base_model_name_or_path: where the frozen weights come from; stored with the adapter.

    Raises:
        ConfigError: a value is out of range, or an unknown module.
    """

    r: int = 8
    lora_alpha: float = 8
    target_modules: str | Sequence[str] | None = None
    lora_dropout: float = 0.0
    use_rslora: bool = False
    base_model_name_or_path: str | None = None

    def __post_init__(self) -> None:
        if isinstance(self.r, bool) or not isinstance(self.r, int) or self.r < 1:
            raise ConfigError(f"LoraConfig: r: expected a positive integer, got {self.r!r}")
        if not isinstance(self.lora_alpha, (int, float)) or not math.isfinite(self.lora_alpha):
            raise ConfigError(f"LoraConfig: lora_alpha: expected a number, got {self.lora_alpha!r}")
        if not isinstance(self.lora_dropout, (int, float)) or not 0.0 <= self.lora_dropout < 1.0:
            raise ConfigError(
                f"LoraConfig: lora_dropout: expected a number of at least 0 and below 1, got {self.lora_dropout!r}"
            )
        wanted = self.target_modules
        names = (
            list(TARGETS) if wanted == "all-linear" else ["q_proj", "v_proj"] if wanted is None else wanted
        )
        if isinstance(names, str):
            names = _matched(names)
        names = sorted(set(names), key=list(names).index)
        for name in names:
            if name not in TARGETS:
                hint = did_you_mean(str(name), TARGETS)
                raise ConfigError(
                    f"LoraConfig: target_modules: {name!r} is none of {', '.join(TARGETS)}.{hint}"
                )
        if not names:
            raise ConfigError("LoraConfig: target_modules: expected at least one module")
        object.__setattr__(self, "target_modules", [name for name in TARGETS if name in names])

    @property
    def scale(self) -> float:
        """s of y = W x + s B A x."""
        return self.lora_alpha / (math.sqrt(self.r) if self.use_rslora else self.r)

    @classmethod
    def of(cls, config: Any) -> LoraConfig:
        """A LoraConfig from one of ours, one of PEFT's, or a mapping.

        Raises:
            ConfigError: it asks for something that is not supported; names the option.
        """
        if isinstance(config, cls):
            return config
        if not isinstance(config, Mapping):
            kind = getattr(config, "peft_type", "LORA")
            if not hasattr(config, "r") or str(getattr(kind, "value", kind)) != "LORA":
                raise ConfigError(
                    f"peft_config: expected ptagrpo.LoraConfig, or a LoraConfig of PEFT, got {type(config).__name__}"
                )
            config = vars(config)
        for name, neutral in REFUSED.items():
            if config.get(name, neutral[0]) not in neutral:
                raise ConfigError(f"LoRA: {name} = {config[name]!r} is not supported; leave it out")
        known = {field.name for field in fields(cls)}
        values = {name: value for name, value in config.items() if name in known and value is not None}
        if isinstance(values.get("target_modules"), (set, frozenset)):
            values["target_modules"] = sorted(values["target_modules"])
        if "lora_dropout" in values:
            values["lora_dropout"] = float(values["lora_dropout"])
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """The dict of an adapter_config.json that PEFT loads."""
        own = asdict(self)
        own["target_modules"] = list(self.target_modules or ())
        neutral = {
            name: values[0]
            for name, values in REFUSED.items()
            if name in ("bias", "fan_in_fan_out", "use_dora")
        }
        return {"peft_type": "LORA", "task_type": "CAUSAL_LM", "inference_mode": True, **neutral, **own}


def _matched(pattern: str) -> list[str]:
    """The modules that a `target_modules` which is one string names."""
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise ConfigError(f"LoraConfig: target_modules: {pattern!r} is no regular expression: {error}") from error
    roots = ("model.", "model.language_model.")
    names = {
        name: [name, *(f"{root}layers.0.{BLOCK[name]}.{name}" for root in roots)] for name in TARGETS
    }
    found = [name for name in TARGETS if any(expression.fullmatch(whole) for whole in names[name])]
    return found or [pattern]  # which is refused as an unknown module


def attach(model: _core.Model, config: LoraConfig, seed: int = 0) -> None:
    """Give a model a new adapter: A uniform in ±1/sqrt(in), as PEFT's (Kaiming with a = sqrt(5)); B zero.

    The numbers of a matrix depend on `seed` and its name alone.

    Raises:
        RuntimeError: the model has an adapter.
    """
    model.add_adapter(config.r, config.scale, list(config.target_modules or ()), config.lora_dropout)
    for name, matrix in model.adapter_parameters().items():
        if ".lora_A." in name:
            bound = 1.0 / math.sqrt(matrix.shape[1])
            generator = np.random.Generator(np.random.Philox(key=rng.key(seed, "lora", name)))
            matrix[...] = generator.uniform(-bound, bound, matrix.shape)


def merge(model: _core.Model) -> None:
    """W += s B A for every adapted projection, in float64, rounded once; then the adapter is gone."""
    adapter, weights, low = model.adapter, model.parameters(), model.adapter_parameters()
    assert adapter is not None
    for name, a in low.items():
        if ".lora_A." not in name:
            continue
        b, weight = (
            low[name.replace(".lora_A.", ".lora_B.")],
            weights[name.replace(".lora_A.weight", ".weight")],
        )
        wide = a.astype(np.float64)
        for start in range(0, len(weight), 1024):  # a block of rows at a time: the product is as large as W
            rows = slice(start, start + 1024)
            weight[rows] += adapter["scale"] * (b[rows].astype(np.float64) @ wide)
    del low, a, b
    model.remove_adapter()


def write_adapter(folder: str | Path, model: _core.Model, config: LoraConfig, family: FamilySpec) -> None:
    """Write adapter_model.safetensors and adapter_config.json into the existing `folder`, as PEFT does.

    Beside a vision tower, whose modules have names like the language model's, the targets are a regular expression.
    """
    folder, root = Path(folder), family.language_model
    tensors = {
        PREFIX + root + name.removeprefix("model."): matrix
        for name, matrix in model.adapter_parameters().items()
    }
    write_safetensors(folder / WEIGHTS, dict(sorted(tensors.items())))
    values = config.to_dict()
    if root != "model.":
        names = "|".join(values["target_modules"])
        values["target_modules"] = rf"{re.escape(root)}layers\.\d+\.\w+\.({names})"
    atomic_write_json(folder / CONFIG, values)


def read_config(folder: str | Path) -> LoraConfig:
    """The LoraConfig of an adapter's folder.

    Raises:
        CheckpointError: adapter_config.json is missing, damaged, or asks for what is not supported.
    """
    file = Path(folder) / CONFIG
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(values, dict) or values.get("peft_type") != "LORA":
            raise ConfigError("is not the configuration of a LoRA adapter")
        return LoraConfig.of(values)
    except (OSError, ValueError, TypeError, ConfigError) as error:
        raise CheckpointError(f"{file}: {error}") from error


def read_weights(folder: str | Path, model: _core.Model, family: FamilySpec) -> None:
    """Read an adapter's matrices into the model's adapter of the same shape.

    Raises:
        CheckpointError: a tensor is missing, unexpected, or of another shape: the adapter is for another model. The
            model's adapter is then as it was.
    """
    file = Path(folder) / WEIGHTS
    shapes = {name: matrix.shape for name, matrix in model.adapter_parameters().items()}
    ours = family.tensor_name or (lambda stored: stored)
    try:
        with safetensors.safe_open(str(file), framework="np") as handle:
            stored = {ours(name.removeprefix(PREFIX)): name for name in handle.keys()}  # noqa: SIM118
            found = {name: tuple(handle.get_slice(there).get_shape()) for name, there in stored.items()}
            for name in sorted(shapes.keys() | found.keys()):
                expected, got = shapes.get(name), found.get(name)
                if expected is None or got != expected:
                    wanted = "is not in this model's adapter" if expected is None else f"must be {expected}"
                    there = "is missing" if got is None else f"has shape {got}"
                    raise CheckpointError(
                        f"{file}: tensor {stored.get(name, PREFIX + name)!r} {there}, {wanted}: an adapter for another "
                        "model?"
                    )
            arrays = {name: handle.get_tensor(stored[name]).astype(np.float32) for name in shapes}
    except CheckpointError:
        raise
    except (OSError, safetensors.SafetensorError) as error:
        raise CheckpointError(f"{file}: cannot be read: {error}") from error
    for name, matrix in model.adapter_parameters().items():
        matrix[...] = arrays[name]
