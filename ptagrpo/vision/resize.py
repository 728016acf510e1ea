"""The size to which an image is resized, so that it is cut into whole patches and its number of pixels is in range."""

from __future__ import annotations

import math

MOST_ELONGATED = 200  # longer side over shorter side


def smart_size(height: int, width: int, factor: int, min_pixels: int, max_pixels: int) -> tuple[int, int]:
    """The nearest (height, width) that are multiples of `factor`, with an area from `min_pixels` to `max_pixels`, in
    about the same proportion (Qwen2-VL, arXiv 2409.12191, section 2.1; its published rule).

    Raises:
        ValueError: one side is more than 200 times the other.

    >>> smart_size(100, 333, 28, 3136, 12845056)
    (112, 336)
    """
    if max(height, width) > MOST_ELONGATED * min(height, width):
        raise ValueError(
            f"{width} x {height} pixels: one side may be at most {MOST_ELONGATED} times the other; crop it"
        )
    rounded = tuple(round(side / factor) * factor for side in (height, width))
    area = rounded[0] * rounded[1]
    if area > max_pixels:
        shrink = math.sqrt(height * width / max_pixels)
        return tuple(max(factor, math.floor(side / shrink / factor) * factor) for side in (height, width))  # type: ignore[return-value]
    if area < min_pixels:
        grow = math.sqrt(min_pixels / (height * width))
        return tuple(math.ceil(side * grow / factor) * factor for side in (height, width))  # type: ignore[return-value]
    return rounded  # type: ignore[return-value]
