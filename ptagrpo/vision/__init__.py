"""Images on their way into a vision-language model: sizes, patches, tokens, positions. The tower itself is C."""

from .places import picture_rows, place, rope_positions
from .processor import ImageProcessor
from .prompt import expand, has_images, pixels_and_grids, take_pictures
from .resize import smart_size

__all__ = [
    "ImageProcessor",
    "expand",
    "has_images",
    "picture_rows",
    "pixels_and_grids",
    "place",
    "rope_positions",
    "smart_size",
    "take_pictures",
]
