"""The shape of a model: read from and written to Hugging Face's config.json, as transformers 4 and 5 write
it.

transformers 4 keeps the rotary base in `rope_theta` and its scaling in `rope_scaling`; transformers 5 keeps
both in `rope_parameters`. This module reads either and writes both, so that either reads what it wrote.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import CheckpointError, ConfigError, did_you_mean
from .family import FamilySpec, families, find_family
from .rope import inverse_frequencies, mrope_sections, rope_type_of, written_scaling
from .vision import VisionConfig

SIZES = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
UNSUPPORTED_EVERYWHERE = (
    ("quantization_config", "quantised weights"),
    ("num_experts", "a mixture of experts"),
    ("num_local_experts", "a mixture of experts"),
)


@dataclass(frozen=True)
class ModelConfig:
    """Sizes and switches of a decoder. Field names are those of Hugging Face's config.json.

    rope_scaling: None, or the scaling dict with its `rope_type` (without `rope_theta`).
    eos_token_id: one id, several, or None.
    vision: of the tower, in families that see images.
    unrotated_layers: layers without rotary embedding.
    extra: further keys of the config.json that was read; written back unchanged.

    Raises:
        ConfigError: a size is missing, not a positive integer, or contradicts another one; a variant is
            unsupported.
    """

    model_type: str
    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    rms_norm_eps: float = 1e-6
    rope_theta: float = 10000.0
    rope_scaling: Mapping[str, Any] | None = None
    max_position_embeddings: int = 2048
    tie_word_embeddings: bool = False
    initializer_range: float = 0.02
    bos_token_id: int | None = None
    eos_token_id: int | list[int] | None = None
    pad_token_id: int | None = None
    vision: VisionConfig | None = None
    unrotated_layers: tuple[int, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        for name in (*SIZES, "num_key_value_heads", "head_dim", "max_position_embeddings"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value <= 0:
                raise ConfigError(f"{name}: expected a positive integer, got {value!r}")
        if self.num_attention_heads % self.num_key_value_heads:
            raise ConfigError(
                f"num_key_value_heads {self.num_key_value_heads} does not divide num_attention_heads "
                f"{self.num_attention_heads}"
            )
        for name in ("rms_norm_eps", "rope_theta", "initializer_range"):
            value = getattr(self, name)
            number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if not number or not math.isfinite(value) or value <= 0:
                raise ConfigError(f"{name}: expected a positive number, got {value!r}")
        if not isinstance(self.tie_word_embeddings, bool):
            raise ConfigError(
                f"tie_word_embeddings: expected true or false, got {self.tie_word_embeddings!r}"
            )
        if self.model_type not in families():
            find_family({"model_type": self.model_type})
        self.inv_freq()
        if (self.vision is not None) != (rope_type_of(self.rope_scaling) == "mrope"):
            raise ConfigError(f"rope_type {rope_type_of(self.rope_scaling)!r} does not go with this family")
        if self.vision is not None and self.vision.out_hidden_size != self.hidden_size:
            raise ConfigError(
                f"vision_config: out_hidden_size is {self.vision.out_hidden_size}, hidden_size {self.hidden_size}"
            )

    @property
    def family(self) -> FamilySpec:
        """The family's file in this folder."""
        return families()[self.model_type]

    def inv_freq(self) -> np.ndarray:
        """Rotary frequencies, float64 (head_dim / 2,)."""
        return inverse_frequencies(self.head_dim, self.rope_theta, self.rope_scaling)

    def eos_token_ids(self) -> list[int]:
        """`eos_token_id` as a list."""
        return id_list(self.eos_token_id)

    def core_config(self, dtype: str = "float32", quantization: str | None = None) -> dict[str, Any]:
        """The dict that `ptagrpo._core.Model` takes; see `check_dtype`, `check_quantization`."""
        names = (*SIZES, "num_key_value_heads", "head_dim", "tie_word_embeddings")
        return {
            **{name: getattr(self, name) for name in names},
            "rms_norm_eps": float(self.rms_norm_eps),
            "attention_bias": self.family.attention_bias,
            "qk_norm": self.family.qk_norm,
            "inv_freq": self.inv_freq(),
            "dtype": check_dtype(dtype),
            "weights": check_quantization(quantization) or "trained",
            **({"unrotated_layers": list(self.unrotated_layers)} if self.unrotated_layers else {}),
            **self._vision_core_config(),
        }

    def _vision_core_config(self) -> dict[str, Any]:
        if self.vision is None:
            return {}
        sections = mrope_sections(self.rope_scaling or {}, self.head_dim // 2)
        return {"rope_sections": sections, "vision": self.vision.core_config()}

    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of every tensor by its Hugging Face name, in the order of the network."""
        hidden, ffn, size = self.hidden_size, self.intermediate_size, self.head_dim
        queries, keys = self.num_attention_heads * size, self.num_key_value_heads * size
        shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (self.vocab_size, hidden)}
        for index in range(self.num_hidden_layers):
            layer = f"model.layers.{index}"
            shapes[f"{layer}.input_layernorm.weight"] = (hidden,)
            for name, width in (("q", queries), ("k", keys), ("v", keys)):
                shapes[f"{layer}.self_attn.{name}_proj.weight"] = (width, hidden)
                if self.family.attention_bias:
                    shapes[f"{layer}.self_attn.{name}_proj.bias"] = (width,)
            if self.family.qk_norm:
                shapes[f"{layer}.self_attn.q_norm.weight"] = (size,)
                shapes[f"{layer}.self_attn.k_norm.weight"] = (size,)
            shapes[f"{layer}.self_attn.o_proj.weight"] = (hidden, queries)
            shapes[f"{layer}.post_attention_layernorm.weight"] = (hidden,)
            shapes[f"{layer}.mlp.gate_proj.weight"] = (ffn, hidden)
            shapes[f"{layer}.mlp.up_proj.weight"] = (ffn, hidden)
            shapes[f"{layer}.mlp.down_proj.weight"] = (hidden, ffn)
        shapes["model.norm.weight"] = (hidden,)
        if not self.tie_word_embeddings:
            shapes["lm_head.weight"] = (self.vocab_size, hidden)
        return shapes if self.vision is None else {**shapes, **self.vision.parameter_shapes()}

    def stored_shapes(self) -> dict[str, tuple[int, ...]]:
        """The same, as files have them."""
        return {**self.parameter_shapes(), **({} if self.vision is None else self.vision.stored_shapes())}

    @property
    def num_parameters(self) -> int:
        """How many numbers the model has (a tied head counts once)."""
        return sum(math.prod(shape) for shape in self.parameter_shapes().values())

    def replace(self, **changes: Any) -> ModelConfig:
        """A copy with some fields changed."""
        return replace(self, **changes)

    @classmethod
    def from_dict(cls, config: Mapping[str, Any]) -> ModelConfig:
        """Read a config.json's dict, in the form of transformers 4 or 5.

        Raises:
            ConfigError: unknown architecture, unsupported variant, missing or contradicting keys.
        """
        family = find_family(config)
        if family.flatten is not None:
            config = family.flatten(config)
        _refuse_unsupported(config, family)
        missing = [name for name in SIZES if config.get(name) is None]
        if missing:
            hint = did_you_mean(missing[0], [key for key in config if key not in SIZES])
            raise ConfigError(f"missing {', '.join(missing)}.{hint}")
        theta, scaling = _read_rope(config)
        heads, head_dim = config["num_attention_heads"], config.get("head_dim") or family.default_head_dim
        if head_dim is None:
            hidden = config["hidden_size"]
            if not isinstance(heads, int) or heads <= 0 or hidden % heads:
                raise ConfigError(
                    f"hidden_size {hidden!r} is not a multiple of num_attention_heads {heads!r}"
                )
            head_dim = hidden // heads
        known = {f.name for f in fields(cls)} - {"extra", "vision", "unrotated_layers"}
        plain = {k: v for k, v in config.items() if k in known and v is not None}
        plain.update(
            model_type=family.model_type,
            num_key_value_heads=config.get("num_key_value_heads") or heads,
            head_dim=head_dim,
            rope_theta=theta,
            rope_scaling=scaling,
            vision=None if family.vision is None else family.vision(config),
            unrotated_layers=() if family.unrotated is None else family.unrotated(config),
        )
        dropped = known | {"rope_parameters", "architectures"}
        return cls(**plain, extra={k: v for k, v in config.items() if k not in dropped})

    @classmethod
    def from_file(cls, path: str | Path) -> ModelConfig:
        """Read a config.json file.

        Raises:
            CheckpointError: the file is missing, not JSON, or describes a model that cannot be built; names
                the file.
        """
        config = read_json_object(path)
        try:
            return cls.from_dict(config)
        except ConfigError as error:
            raise CheckpointError(f"{path}: {error}") from error

    def to_dict(self) -> dict[str, Any]:
        """The dict of a config.json that transformers 4 and 5 both load."""
        scaling, parameters = written_scaling(self.rope_scaling)
        written = {
            f.name: getattr(self, f.name)
            for f in fields(self)
            if f.name not in ("extra", "rope_scaling", "vision", "unrotated_layers")
        }
        return {
            "architectures": [self.family.architecture],
            "hidden_act": "silu",
            "attention_dropout": 0.0,
            "use_cache": True,
            **({} if self.family.attention_bias else {"attention_bias": False}),
            **self.extra,
            **written,
            "rope_scaling": scaling,
            "rope_parameters": {"rope_theta": self.rope_theta, **parameters},
        }


def id_list(ids: int | list[int] | None) -> list[int]:
    """Token ids as a list: None is no id, one id is a list of one."""
    return [] if ids is None else [ids] if isinstance(ids, int) else list(ids)


def read_json_object(path: str | Path) -> dict[str, Any]:
    """Read a JSON file that holds an object.

    Raises:
        CheckpointError: missing, unreadable, not UTF-8 JSON, or not an object; names the file.
    """
    try:
        value = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: no such file") from error
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise CheckpointError(f"{path}: cannot read as JSON: {error}") from error
    if not isinstance(value, dict):
        raise CheckpointError(f"{path}: expected a JSON object, got {type(value).__name__}")
    return value


def _refuse_unsupported(config: Mapping[str, Any], family: FamilySpec) -> None:
    """Raise for anything that would make the core compute something else than the model was trained as."""

    def refuse(key: str, what: str) -> None:
        raise ConfigError(f"{family.architecture} with {what} ({key} = {config[key]!r}) is not supported")

    if config.get("hidden_act", "silu") not in ("silu", "swish"):
        refuse("hidden_act", "an activation other than 'silu'")
    for key, what in UNSUPPORTED_EVERYWHERE:
        if config.get(key):
            refuse(key, what)
    for key, predicate, what in family.unsupported:
        if predicate(config.get(key), config):
            refuse(key, what)
    if any(kind != "full_attention" for kind in config.get("layer_types") or ()):
        refuse("layer_types", "layers other than 'full_attention'")
    if config.get("partial_rotary_factor", 1.0) not in (None, 1, 1.0):
        refuse("partial_rotary_factor", "a partly rotated head")


def _read_rope(config: Mapping[str, Any]) -> tuple[float, dict[str, Any] | None]:
    """Return (theta, scaling or None) from either form; refuse a file in which the two forms disagree."""
    new, old_scaling, old_theta = (
        config.get(key) for key in ("rope_parameters", "rope_scaling", "rope_theta")
    )
    for key, value in (("rope_parameters", new), ("rope_scaling", old_scaling)):
        if value is not None and not isinstance(value, Mapping):
            raise ConfigError(f"{key}: expected an object, got {value!r}")
    old = _normalised(old_scaling)
    theta = old_theta if old_theta is not None else (old_scaling or {}).get("rope_theta")
    if new:
        new_theta, scaling = new.get("rope_theta"), _normalised(new)
        if None not in (theta, new_theta) and theta != new_theta:
            raise ConfigError(f"rope_theta is {theta!r} but rope_parameters has rope_theta {new_theta!r}")
        if old_scaling is not None and old != scaling:
            raise ConfigError(f"rope_scaling {old_scaling!r} and rope_parameters {new!r} disagree")
        theta = new_theta if new_theta is not None else theta
    else:
        scaling = old
    if scaling is not None and scaling["rope_type"] == "llama3":
        scaling.setdefault("original_max_position_embeddings", config.get("max_position_embeddings"))
    return (10000.0 if theta is None else theta), scaling


def _normalised(scaling: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """A scaling dict with `rope_type` and without `type` and `rope_theta`; None for the default rule."""
    if not scaling:
        return None
    if scaling.get("partial_rotary_factor", 1.0) not in (None, 1, 1.0):
        raise ConfigError(f"partial_rotary_factor {scaling['partial_rotary_factor']!r} is not supported")
    rope_type = rope_type_of(scaling)
    if rope_type == "default":
        return None
    rest = {
        k: v
        for k, v in scaling.items()
        if k not in ("rope_type", "type", "rope_theta", "partial_rotary_factor")
    }
    return {"rope_type": rope_type, **rest}


def check_quantization(quantization: str | None) -> str | None:
    """How frozen weights are kept: "int8", "int4" (symmetric, a scale for 64 inputs), "bfloat16"; None: not frozen.

    Raises:
        ConfigError: another one.
    """
    if quantization not in (None, "bfloat16", "int8", "int4"):
        raise ConfigError(f"quantization: expected 'int8', 'int4', 'bfloat16' or None, got {quantization!r}")
    return quantization


def check_dtype(dtype: str) -> str:
    """The type of working weights and stored activations: "float32" or "bfloat16" (master weights are float32).

    Raises:
        ConfigError: another one.
    """
    known = {"float32": "float32", "fp32": "float32", "bfloat16": "bfloat16", "bf16": "bfloat16"}
    if not isinstance(dtype, str) or dtype not in known:
        raise ConfigError(f"dtype: expected 'float32' or 'bfloat16', got {dtype!r}")
    return known[dtype]
