"""Images of a question: where they stand in its text, and opening them without trusting the file.

A placeholder is `<image 1>` (data sets also write `<image_1>` and `<image1>`); the number counts from one. Pillow is
needed to open an image only: pip install 'ptagrpo[vision]'.
"""

from __future__ import annotations

import io
import os
import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import ConfigError, DataError

if TYPE_CHECKING:
    from PIL.Image import Image

PLACEHOLDER = re.compile(r"<image[ _]?(\d{1,3})>", re.IGNORECASE)
MAX_PIXELS = 100_000_000  # of one image: 300 MB as RGB; a small file can claim any size


def canonical_placeholders(text: str) -> str:
    """Every placeholder as `<image n>`.

    >>> canonical_placeholders("<image_1> or <image2>?")
    '<image 1> or <image 2>?'
    """
    return PLACEHOLDER.sub(lambda match: f"<image {int(match.group(1))}>", text)


def image_order(text: str) -> list[int]:
    """Numbers (from 1) of the images in the order in which the text mentions them, repeated where it repeats them.

    >>> image_order("Compare <image 2> with <image 1> and <image 2>.")
    [2, 1, 2]
    """
    return [int(number) for number in PLACEHOLDER.findall(text)]


def check_placeholders(text: str, count: int, *, repeats: bool = False) -> None:
    """Check the placeholders of a text against the number of images that come with it.

    Args:
        repeats: whether an image may stand in the text more than once.

    Raises:
        ValueError: a number without an image, or one that occurs twice.
    """
    order = image_order(text)
    beyond = [number for number in order if not 1 <= number <= count]
    if beyond:
        raise ValueError(
            f"the text has <image {beyond[0]}>, the row has {count} image{'' if count == 1 else 's'}"
        )
    twice = next((number for number in order if order.count(number) > 1), None)
    if twice is not None and not repeats:
        raise ValueError(
            f"the text has <image {twice}> {order.count(twice)} times; expected each image once (number the others, "
            "or refer to it in words)"
        )


def content_parts(text: str, images: Sequence[Any]) -> list[dict[str, Any]]:
    """The content of a chat turn in Hugging Face's form: parts of type "image" and "text" in the text's order.

    Images without a placeholder come first. An image that the text repeats is given again at each place, as the
    official evaluation of MMMU-Pro gives it.

    >>> content_parts("See <image 1>: why?", ["a.png"])
    [{'type': 'text', 'text': 'See '}, {'type': 'image', 'image': 'a.png'}, {'type': 'text', 'text': ': why?'}]
    """
    check_placeholders(text, len(images), repeats=True)
    mentioned = set(image_order(text))
    parts: list[dict[str, Any]] = [
        {"type": "image", "image": image} for n, image in enumerate(images, start=1) if n not in mentioned
    ]
    for index, piece in enumerate(PLACEHOLDER.split(text)):
        if index % 2:
            parts.append({"type": "image", "image": images[int(piece) - 1]})
        elif piece:
            parts.append({"type": "text", "text": piece})
    return parts


def open_image(source: str | os.PathLike | bytes, what: str = "image") -> Image:
    """Open an image and decode it wholly, as RGB: turned as its EXIF orientation says, what is transparent on white.

    Args:
        source: a path, or the contents of a file.
        what: names it in errors, as "question 'x', image 1".

    Raises:
        DataError: no such file, an empty one, not an image, cut off in the middle, of no width or height, or of more
            than `MAX_PIXELS` pixels (told from its header, before it is decoded).
        ConfigError: Pillow is not installed.
    """
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError as error:
        raise ConfigError(
            f"{what}: opening images needs the optional package Pillow: pip install 'ptagrpo[vision]'"
        ) from error
    where = None if isinstance(source, bytes) else str(source)
    if isinstance(source, bytes):
        data = source
    else:
        try:
            data = Path(source).read_bytes()
        except OSError as error:
            raise DataError(f"{what}: cannot be read ({error.strerror or error})", file=where) from error
    if not data:
        raise DataError(f"{what}: the file is empty", file=where)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of large images; the limit here is our own
        try:
            image = Image.open(io.BytesIO(data))
            width, height = image.size
            if width < 1 or height < 1:
                raise DataError(f"{what}: has {width} x {height} pixels, expected at least 1 x 1", file=where)
            if width * height > MAX_PIXELS:
                raise DataError(
                    f"{what}: has {width} x {height} pixels, the limit is {MAX_PIXELS:,}; make it smaller",
                    file=where,
                )
            return _upright_rgb(image)
        except Image.DecompressionBombError as error:
            raise DataError(
                f"{what}: too large: {error}; the limit is {MAX_PIXELS:,} pixels", file=where
            ) from error
        except UnidentifiedImageError as error:
            raise DataError(f"{what}: not an image that Pillow can read", file=where) from error
        except (OSError, SyntaxError, ValueError, EOFError, MemoryError) as error:
            if isinstance(error, DataError):
                raise
            raise DataError(f"{what}: damaged or cut off ({error})", file=where) from error


def _upright_rgb(image: Image) -> Image:
    from PIL import Image as images
    from PIL import ImageOps

    image = ImageOps.exif_transpose(image)
    if "A" not in image.getbands() and image.info.get("transparency") is None:
        return image.convert("RGB")
    white = images.new("RGBA", image.size, (255, 255, 255, 255))
    return images.alpha_composite(white, image.convert("RGBA")).convert("RGB")
