"""The shape of a vision tower, read from a config.json's `vision_config`, and its tensors by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import ConfigError

UNITS = ("silu", "swish")


@dataclass(frozen=True)
class VisionConfig:
    """Sizes of a tower; names are those of Hugging Face's vision_config.

    window_size: side of a window, in pixels. fullatt_block_indexes: blocks whose patches see the whole image.
    out_hidden_size: the language model's hidden size.
    image_token_id: the token that stands for one row of an image.

    Raises:
        ConfigError: a size is not a positive integer, or contradicts another one.
    """

    hidden_size: int
    out_hidden_size: int
    image_token_id: int
    depth: int = 32
    intermediate_size: int = 3420
    num_heads: int = 16
    in_channels: int = 3
    patch_size: int = 14
    temporal_patch_size: int = 2
    spatial_merge_size: int = 2
    window_size: int = 112
    fullatt_block_indexes: tuple[int, ...] = (7, 15, 23, 31)

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if name == "fullatt_block_indexes":
                continue
            if (
                isinstance(value, bool)
                or not isinstance(value, int)
                or value < (0 if name == "image_token_id" else 1)
            ):
                raise ConfigError(f"vision_config: {name}: expected a positive integer, got {value!r}")
        if self.hidden_size % (4 * self.num_heads):
            raise ConfigError(
                f"vision_config: hidden_size {self.hidden_size} must be num_heads ({self.num_heads}) times a "
                "multiple of 4"
            )
        if self.in_channels != 3:
            raise ConfigError(f"vision_config: in_channels is {self.in_channels}; images here have 3")
        if self.window_size % self.token_side:
            raise ConfigError(
                f"vision_config: window_size {self.window_size} is not a multiple of a token's side, {self.token_side}"
            )
        beyond = [block for block in self.fullatt_block_indexes if not 0 <= block < self.depth]
        if beyond:
            raise ConfigError(
                f"vision_config: fullatt_block_indexes has {beyond[0]}, but there are {self.depth} blocks"
            )

    @property
    def token_side(self) -> int:
        """Side, in pixels, of the square that one token stands for."""
        return self.patch_size * self.spatial_merge_size

    @property
    def patch_shape(self) -> tuple[int, int, int, int]:
        """(channels, frames, rows, columns) of a patch."""
        return (self.in_channels, self.temporal_patch_size, self.patch_size, self.patch_size)

    @property
    def patch_values(self) -> int:
        """Numbers of a patch."""
        channels, frames, rows, columns = self.patch_shape
        return channels * frames * rows * columns

    @classmethod
    def from_dict(cls, config: Mapping[str, Any], hidden_size: int, image_token_id: Any) -> VisionConfig:
        """Read a `vision_config`.

        Args:
            hidden_size: the language model's, where `out_hidden_size` is not said.

        Raises:
            ConfigError: a variant that is not computed here, or a size out of range; names the key.
        """
        if not isinstance(config, Mapping):
            raise ConfigError(f"vision_config: expected an object, got {config!r}")
        if config.get("hidden_act", "silu") not in UNITS:
            raise ConfigError(
                f"vision_config: hidden_act {config['hidden_act']!r} is not supported; 'silu' is"
            )
        if config.get("hidden_size") is None:
            raise ConfigError("vision_config: missing hidden_size")
        rope = config.get("rope_parameters") or {}
        if rope.get("rope_theta", 10000.0) != 10000.0 or rope.get("rope_type", "axial") != "axial":
            raise ConfigError(
                f"vision_config: rope_parameters {rope!r} are not supported; axial with theta 10000 is"
            )
        names = set(cls.__dataclass_fields__) - {"image_token_id", "fullatt_block_indexes"}
        values = {name: config[name] for name in names if config.get(name) is not None}
        for name, older in (("in_channels", "in_chans"), ("patch_size", "spatial_patch_size")):
            if name not in values and config.get(older) is not None:
                values[name] = config[older]
        values.setdefault("out_hidden_size", hidden_size)
        if config.get("fullatt_block_indexes") is not None:
            values["fullatt_block_indexes"] = tuple(config["fullatt_block_indexes"])
        return cls(**values, image_token_id=image_token_id)

    def core_config(self) -> dict[str, Any]:
        """The dict `vision` that `ptagrpo._core.Model` takes in its configuration."""
        names = (
            "depth",
            "hidden_size",
            "intermediate_size",
            "num_heads",
            "out_hidden_size",
            "spatial_merge_size",
        )
        return {
            **{name: getattr(self, name) for name in names},
            "patch_values": self.patch_values,
            "window": self.window_size // self.token_side,
            "full_blocks": list(self.fullatt_block_indexes),
        }

    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of every tensor by its name in a checkpoint, in the order of the network; matrices are [out, in]."""
        hidden, ffn, joined = (
            self.hidden_size,
            self.intermediate_size,
            self.hidden_size * self.spatial_merge_size**2,
        )
        shapes: dict[str, tuple[int, ...]] = {"visual.patch_embed.proj.weight": (hidden, self.patch_values)}
        for index in range(self.depth):
            block = f"visual.blocks.{index}"
            shapes[f"{block}.norm1.weight"] = (hidden,)
            shapes[f"{block}.norm2.weight"] = (hidden,)
            shapes[f"{block}.attn.qkv.weight"] = (3 * hidden, hidden)
            shapes[f"{block}.attn.qkv.bias"] = (3 * hidden,)
            shapes[f"{block}.attn.proj.weight"] = (hidden, hidden)
            shapes[f"{block}.attn.proj.bias"] = (hidden,)
            for name in ("gate_proj", "up_proj"):
                shapes[f"{block}.mlp.{name}.weight"] = (ffn, hidden)
            for name in ("gate_proj", "up_proj"):
                shapes[f"{block}.mlp.{name}.bias"] = (ffn,)
            shapes[f"{block}.mlp.down_proj.weight"] = (hidden, ffn)
            shapes[f"{block}.mlp.down_proj.bias"] = (hidden,)
        shapes["visual.merger.ln_q.weight"] = (hidden,)
        shapes["visual.merger.mlp.0.weight"] = (joined, joined)
        shapes["visual.merger.mlp.0.bias"] = (joined,)
        shapes["visual.merger.mlp.2.weight"] = (self.out_hidden_size, joined)
        shapes["visual.merger.mlp.2.bias"] = (self.out_hidden_size,)
        return shapes

    def stored_shapes(self) -> dict[str, tuple[int, ...]]:
        """Tensors that stand in files in another shape of as many numbers: a convolution's kernel."""
        return {"visual.patch_embed.proj.weight": (self.hidden_size, *self.patch_shape)}
