"""Image processing: sizes, patch order, files; equal to transformers' processor on made and on real images."""

from __future__ import annotations

import io

import numpy as np
import pytest

from ptagrpo.errors import CheckpointError, ConfigError, DataError
from ptagrpo.images import open_image
from ptagrpo.vision import ImageProcessor, smart_size

images = pytest.importorskip("PIL.Image", reason="Pillow is not installed")

# (width, height): smaller than a token, exactly one, odd, elongated, near the limits of the test's processor.
SIZES = [(1, 1), (28, 28), (57, 83), (14, 2800), (200, 1), (333, 100), (641, 479), (1200, 90)]


def made(size, mode="RGB", seed=0):
    bands = {"RGB": 3, "RGBA": 4, "L": 1}[mode]
    values = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], bands), dtype=np.uint8)
    return images.fromarray(values if bands > 1 else values[..., 0], mode)


def encoded(image, form="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def test_sizes_are_whole_tokens_within_the_bounds():
    for width, height in SIZES:
        rows, columns = smart_size(height, width, 28, 3136, 40000)
        assert rows % 28 == columns % 28 == 0
        assert 3136 <= rows * columns <= 40000 or min(rows, columns) == 28
    assert smart_size(1000, 1000, 28, 3136, 10**7) == (1008, 1008)
    with pytest.raises(ValueError, match="201 x 1 pixels: one side may be at most 200 times"):
        smart_size(1, 201, 28, 3136, 10**7)
    with pytest.raises(DataError, match="row 3, image 1: 1 x 300 pixels"):
        ImageProcessor().prepare(made((1, 300)), "row 3, image 1")


def test_a_patch_is_where_it_belongs():
    """A picture of 2 x 1 tokens whose pixels name their place: the order of squares, patches and numbers."""
    processor = ImageProcessor(min_pixels=1, image_mean=(0.0,) * 3, image_std=(1.0,) * 3)
    values = np.zeros((56, 28, 3), np.uint8)
    values[..., 0] = np.arange(56)[:, None]
    values[..., 1] = np.arange(28)[None]
    values[..., 2] = 255
    picture = processor.prepare(images.fromarray(values))
    assert (picture.grid, picture.merged, picture.tokens) == ((4, 2), (2, 1), 2)
    patches = processor.patches(picture)
    assert patches.shape == (8, 1176) and patches.dtype == np.float32
    parts = np.rint(patches * 255).astype(int).reshape(8, 3, 2, 14, 14)
    assert (parts[:, :, 0] == parts[:, :, 1]).all() and (parts[:, 2] == 255).all()
    corners = [tuple(part[:2, 0, 0, 0]) for part in parts]
    assert corners == [(0, 0), (0, 14), (14, 0), (14, 14), (28, 0), (28, 14), (42, 0), (42, 14)]
    assert parts[3, 0, 0, 5, 2] == 19 and parts[3, 1, 0, 5, 2] == 16


def test_opened_images_are_upright_and_on_white():
    turned = images.new("RGB", (40, 20), (255, 0, 0))
    exif = images.Exif()
    exif[0x0112] = 6  # turn by 90 degrees
    assert open_image(encoded(turned, "JPEG", exif=exif)).size == (20, 40)
    clear = images.new("RGBA", (4, 4), (0, 0, 0, 0))
    assert open_image(encoded(clear)).getpixel((1, 1)) == (255, 255, 255)
    half = images.new("RGBA", (4, 4), (255, 0, 0, 128))
    assert open_image(encoded(half)).getpixel((0, 0))[1] in (126, 127, 128)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_processor_type": "CLIPImageProcessor"}, "'CLIPImageProcessor' is not supported; known: Qwen2VL"),
        ({"do_resize": False}, "do_resize = false"),
        ({"resample": 2}, "resample 2"),
        ({"patch_size": 0}, "patch_size: expected a positive integer, got 0"),
        ({"min_pixels": 100, "max_pixels": 50}, "min_pixels is 100, more than max_pixels"),
        ({"min_pixels": 1, "max_pixels": 50}, "fewer than one token's 28 x 28"),
        ({"image_std": [1, 1]}, "image_std: expected three numbers"),
        ({"image_std": [1, 0, 1]}, "image_std: expected positive"),
    ],
)  # fmt: skip
def test_what_is_not_done_here_is_refused(tmp_path, change, message):
    with pytest.raises(ConfigError, match=message):
        ImageProcessor.from_dict(change)
    (tmp_path / "preprocessor_config.json").write_text("[]")
    with pytest.raises(CheckpointError, match="preprocessor_config.json"):
        ImageProcessor.from_folder(tmp_path)


def test_the_file_is_read_and_written(tmp_path, shared_data):
    assert ImageProcessor.from_folder(tmp_path) == ImageProcessor()
    real = ImageProcessor.from_folder(shared_data / "checkpoints" / "qwen2.5-vl")
    assert (real.min_pixels, real.max_pixels, real.factor, real.patch_values) == (3136, 12845056, 28, 1176)
    for name, data in real.files().items():
        (tmp_path / name).write_bytes(data)
    assert ImageProcessor.from_folder(tmp_path) == real
    newer = ImageProcessor.from_dict({"size": {"shortest_edge": 3136, "longest_edge": 12845056}})
    assert newer == real


# Against transformers ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def theirs():
    """transformers' processor with Pillow, as a function of image and max_pixels."""
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    pytest.importorskip("torch", reason="torch is not installed")
    if not hasattr(transformers, "Qwen2VLImageProcessorPil"):
        pytest.skip("this transformers has no Pillow processor of Qwen2-VL")

    def process(image, max_pixels, fast=False):
        kind = transformers.Qwen2VLImageProcessor if fast else transformers.Qwen2VLImageProcessorPil
        made = kind(min_pixels=3136, max_pixels=max_pixels)([image], return_tensors="np")
        return np.asarray(made["pixel_values"]), tuple(made["image_grid_thw"][0].tolist())

    return process


def same_pixels(image, theirs, max_pixels):
    processor = ImageProcessor(max_pixels=max_pixels)
    picture = processor.prepare(image)
    values, grid = theirs(image, max_pixels)
    assert grid == (1, *picture.grid)
    ours = processor.patches(picture)
    assert ours.dtype == values.dtype and np.array_equal(ours, values)
    return ours


@pytest.mark.parametrize("size", SIZES)
def test_made_images_have_transformers_pixels(theirs, size):
    same_pixels(made(size), theirs, 60000)


def test_real_images_have_transformers_pixels(theirs, shared_data):
    """Every image of the real data, at the real bounds: equal to the bit."""
    files = sorted(
        f for f in (shared_data / "multimodal").rglob("*") if f.suffix.lower() in (".png", ".jpg", ".jpeg")
    )
    assert len(files) > 100
    for file in files:
        same_pixels(open_image(file), theirs, 12845056)
