"""Images on their way into a vision-language model: sizes, patches, tokens, positions. The tower itself is C."""

from .processor import ImageProcessor
from .resize import smart_size

__all__ = ["ImageProcessor", "smart_size"]
