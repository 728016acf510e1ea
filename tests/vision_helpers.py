"""A small Qwen2.5-VL, images and sequences with images, for the tests of vision. Needs neither torch nor Pillow."""

from __future__ import annotations

import numpy as np

from ptagrpo import _core
from ptagrpo.models import ModelConfig
from ptagrpo.records import Picture
from ptagrpo.vision import ImageProcessor
from ptagrpo.vision.places import picture_rows, place, rope_positions

CONFIG = {
    "architectures": ["Qwen2_5_VLForConditionalGeneration"],
    "model_type": "qwen2_5_vl",
    "vocab_size": 53,
    "hidden_size": 32,
    "intermediate_size": 27,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "rms_norm_eps": 1e-6,
    "rope_theta": 1000.0,
    "rope_scaling": {"type": "mrope", "mrope_section": [1, 2, 1]},
    "max_position_embeddings": 512,
    "tie_word_embeddings": True,
    "image_token_id": 50,
    "video_token_id": 51,
    "vision_start_token_id": 48,
    "vision_end_token_id": 49,
    "vision_config": {
        "depth": 3, "hidden_size": 24, "intermediate_size": 19, "num_heads": 3, "out_hidden_size": 32, "patch_size": 2,
        "temporal_patch_size": 2, "spatial_merge_size": 2, "window_size": 8, "fullatt_block_indexes": [1],
    },
}  # fmt: skip
IMAGE = CONFIG["image_token_id"]
PROCESSOR = ImageProcessor(min_pixels=16, max_pixels=1600, patch_size=2)
# Of each sequence: (rows, columns) of its images' patches. None is a square; windows are cut off at their edges, and
# the largest has more patches than one page of keys.
GRIDS = ((), ((4, 6),), ((2, 2), (10, 14), (6, 2)))


def make_picture(grid: tuple[int, int], seed: int) -> Picture:
    """A picture of random pixels."""
    size = PROCESSOR.patch_size
    rgb = np.random.default_rng(seed).integers(0, 256, (grid[0] * size, grid[1] * size, 3), dtype=np.uint8)
    return Picture(rgb, grid, (grid[0] // 2, grid[1] // 2), PROCESSOR)


def make_sequence(grids, seed: int, text: int = 5) -> tuple[np.ndarray, list[Picture]]:
    """Random tokens with some images: text, an image between its two marks, text, the next image, ..., text."""
    generator = np.random.default_rng(seed)
    pictures = [make_picture(grid, seed + 100 + i) for i, grid in enumerate(grids)]
    parts = [generator.integers(0, 48, text)]
    for picture in pictures:
        parts += [[48], [IMAGE] * picture.tokens, [49], generator.integers(0, 48, text)]
    return np.concatenate(parts).astype(np.int32), pictures


def core_model(config: dict, weights: dict[str, np.ndarray] | None = None, **options) -> _core.Model:
    """Our model of a config.json with these weights."""
    model = _core.Model(ModelConfig.from_dict(config).core_config(**options))
    for name, view in model.parameters().items():
        if weights is not None:
            view[...] = weights[name]
    return model


def see(model: _core.Model, pictures: list[Picture], keep: bool = False) -> np.ndarray:
    """The rows that the language model gets of these pictures."""
    if not pictures:
        return np.zeros((0, model.config["hidden_size"]), np.float32)
    pixels = np.concatenate([picture.processor.patches(picture) for picture in pictures])
    return model.see(pixels, np.array([picture.grid for picture in pictures], np.int32), keep)


def forest_of(sequences: list[tuple[np.ndarray, list[Picture]]], inputs: np.ndarray) -> _core.Forest:
    """One root for each sequence; inputs: the rows of all pictures."""
    ends = np.cumsum([0, *(len(tokens) for tokens, _ in sequences)]).astype(np.int32)
    positions, rows = [], []
    for (tokens, pictures), start in zip(sequences, ends[:-1], strict=True):
        placed = place(tokens, IMAGE, pictures)
        positions.append(rope_positions(len(tokens), placed)[0])
        rows.append(picture_rows(placed) + start)
    return _core.Forest(
        np.concatenate([tokens for tokens, _ in sequences]), ends, np.full(len(sequences), -1, np.int32),
        np.concatenate(positions, axis=1), np.concatenate(rows).astype(np.int32), inputs,
    )  # fmt: skip
