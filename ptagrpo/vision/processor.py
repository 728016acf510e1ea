"""From an opened image to the patches that a vision tower takes: resized by Pillow (bicubic), scaled, normalised, cut.

The numbers are those of transformers' Qwen2-VL image processor with its Pillow backend, to the bit
(`tests/test_vision_pixels.py`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import CheckpointError, ConfigError, DataError
from ..io import json_bytes
from ..models.config import read_json_object
from ..models.vision import VisionConfig
from ..records import Picture
from .resize import smart_size

if TYPE_CHECKING:
    from PIL.Image import Image

FILE = "preprocessor_config.json"
BICUBIC = 3  # Pillow's number
KINDS = ("Qwen2VLImageProcessor", "Qwen2VLImageProcessorFast", "Qwen2VLImageProcessorPil")
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True)
class ImageProcessor:
    """How images become patches. Names and defaults are those of a preprocessor_config.json.

    min_pixels, max_pixels: bounds of an image's area after resizing.
    patch_size: side of a patch. temporal_patch_size: frames of a patch; a still image is repeated.
    merge_size: patches of a square of this side become one token.
    extra: the rest of the file, written back unchanged.

    Raises:
        ConfigError: a value out of range.
    """

    min_pixels: int = 56 * 56
    max_pixels: int = 28 * 28 * 1280
    patch_size: int = 14
    temporal_patch_size: int = 2
    merge_size: int = 2
    rescale_factor: float = 1 / 255
    image_mean: tuple[float, ...] = CLIP_MEAN
    image_std: tuple[float, ...] = CLIP_STD
    extra: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name in ("min_pixels", "max_pixels", "patch_size", "temporal_patch_size", "merge_size"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ConfigError(f"{name}: expected a positive integer, got {value!r}")
        if self.min_pixels > self.max_pixels:
            raise ConfigError(f"min_pixels is {self.min_pixels}, more than max_pixels ({self.max_pixels})")
        if self.max_pixels < self.factor**2:
            raise ConfigError(
                f"max_pixels is {self.max_pixels}, fewer than one token's {self.factor} x {self.factor} pixels"
            )
        for name in ("image_mean", "image_std"):
            if len(getattr(self, name)) != 3:
                raise ConfigError(f"{name}: expected three numbers, got {getattr(self, name)!r}")
        if not all(value > 0 for value in self.image_std):
            raise ConfigError(f"image_std: expected positive numbers, got {self.image_std!r}")

    @property
    def factor(self) -> int:
        """Side, in pixels, of the square that one token stands for."""
        return self.patch_size * self.merge_size

    @property
    def patch_values(self) -> int:
        """Numbers of one patch."""
        return 3 * self.temporal_patch_size * self.patch_size**2

    @classmethod
    def for_tower(
        cls, vision: VisionConfig | None, found: ImageProcessor | None = None
    ) -> ImageProcessor | None:
        """The processor of a model: `found`, or one with the tower's sizes; None for a model without a tower.

        Raises:
            ConfigError: `found` cuts other patches than the tower takes.
        """
        if vision is None:
            return None
        sizes = {
            "patch_size": vision.patch_size, "temporal_patch_size": vision.temporal_patch_size,
            "merge_size": vision.spatial_merge_size,
        }  # fmt: skip
        if found is None:
            return dataclasses.replace(cls(), **sizes)  # type: ignore[arg-type]
        for name, value in sizes.items():
            if getattr(found, name) != value:
                raise ConfigError(f"{FILE}: {name} is {getattr(found, name)}, the vision tower's is {value}")
        return found

    @classmethod
    def from_dict(cls, config: Mapping[str, Any]) -> ImageProcessor:
        """Read the dict of a preprocessor_config.json.

        Raises:
            ConfigError: it asks for something that is not done here; names the key.
        """
        kind = config.get("image_processor_type", KINDS[0])
        if kind not in KINDS:
            raise ConfigError(f"image_processor_type {kind!r} is not supported; known: {', '.join(KINDS)}")
        for key in ("do_resize", "do_rescale", "do_normalize", "do_convert_rgb"):
            if config.get(key) is False:
                raise ConfigError(f"{key} = false is not supported")
        if config.get("resample", BICUBIC) not in (None, BICUBIC):
            raise ConfigError(f"resample {config['resample']!r} is not supported; bicubic (3) is")
        known = (
            "min_pixels",
            "max_pixels",
            "patch_size",
            "temporal_patch_size",
            "merge_size",
            "rescale_factor",
        )
        values = {name: config[name] for name in known if config.get(name) is not None}
        size = config.get("size") or {}
        for name, key in (("min_pixels", "shortest_edge"), ("max_pixels", "longest_edge")):
            if name not in values and size.get(key) is not None:
                values[name] = size[key]
        for name in ("image_mean", "image_std"):
            if config.get(name) is not None:
                values[name] = tuple(config[name])
        return cls(**values, extra=dict(config))

    @classmethod
    def from_folder(cls, folder: str | Path) -> ImageProcessor:
        """Read the preprocessor_config.json of a model folder; the defaults where there is none.

        Raises:
            CheckpointError: it is damaged or not supported; names the file.
        """
        file = Path(folder) / FILE
        if not file.exists():
            return cls()
        try:
            return cls.from_dict(read_json_object(file))
        except (ConfigError, TypeError) as error:
            raise CheckpointError(f"{file}: {error}") from error

    def to_dict(self) -> dict[str, Any]:
        """The dict of a preprocessor_config.json that transformers reads."""
        return {
            "image_processor_type": KINDS[0],
            "processor_class": "Qwen2_5_VLProcessor",
            **{key: value for key, value in self.extra.items() if key != "size"},
            "min_pixels": self.min_pixels, "max_pixels": self.max_pixels, "patch_size": self.patch_size,
            "temporal_patch_size": self.temporal_patch_size, "merge_size": self.merge_size,
            "rescale_factor": self.rescale_factor,
            "image_mean": list(self.image_mean), "image_std": list(self.image_std),
        }  # fmt: skip

    def files(self) -> dict[str, bytes]:
        """Name and content of the file of a saved model."""
        return {FILE: json_bytes(self.to_dict())}

    def prepare(self, image: Image, what: str = "image") -> Picture:
        """Resize an opened RGB image to whole patches.

        Raises:
            DataError: its sides are too unequal; `what` names it.
        """
        width, height = image.size
        try:
            rows, columns = smart_size(height, width, self.factor, self.min_pixels, self.max_pixels)
        except ValueError as error:
            raise DataError(f"{what}: {error}") from error
        resized = np.asarray(image.convert("RGB").resize((columns, rows), resample=BICUBIC))
        return Picture(
            np.ascontiguousarray(resized),
            (rows // self.patch_size, columns // self.patch_size),
            (rows // self.factor, columns // self.factor),
            self,
        )

    @cached_property
    def _levels(self) -> np.ndarray:
        """float32[256, 3]: what each of the 256 levels of a channel becomes."""
        levels = (np.arange(256, dtype=np.float64) * self.rescale_factor).astype(np.float32)
        mean, std = (np.array(values, np.float32) for values in (self.image_mean, self.image_std))
        return (levels[:, None] - mean) / std

    def patches(self, picture: Picture) -> np.ndarray:
        """The patches of a picture, float32[patches, 3 * frames * side * side].

        Squares of merge_size x merge_size patches stand together, row by row, and in a square its patches row by row;
        numbers of a patch run over channels, frames, rows and columns.
        """
        size, merge, frames = self.patch_size, self.merge_size, self.temporal_patch_size
        (rows, columns), (down, across) = picture.grid, picture.merged
        values = self._levels[picture.rgb, np.arange(3)]
        squares = values.reshape(down, merge, size, across, merge, size, 3).transpose(0, 3, 1, 4, 6, 2, 5)
        repeated = np.broadcast_to(squares[:, :, :, :, :, None], (*squares.shape[:5], frames, size, size))
        return np.ascontiguousarray(repeated.reshape(rows * columns, self.patch_values))
