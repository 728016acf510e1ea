"""Chat messages with images -> text for the chat template, pictures, and token ids with a token for each of their
rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import DataError
from ..images import open_image
from ..records import Picture
from .processor import ImageProcessor


def has_images(messages: Any) -> bool:
    """Whether chat messages have a part of type "image"."""
    return any(
        isinstance(part, Mapping) and part.get("type") == "image"
        for message in messages
        if isinstance(message, Mapping) and isinstance(message.get("content"), (list, tuple))
        for part in message["content"]
    )


def take_pictures(
    messages: Sequence[Mapping[str, Any]], processor: ImageProcessor, what: str
) -> tuple[Picture, ...]:
    """The pictures of all parts {"type": "image", "image": ...}, in order. An image is an opened one (Pillow), a
    path, or the contents of a file; the same object twice becomes one picture.

    Raises:
        DataError: an image that is missing, cannot be opened, or is too narrow; names it.
    """
    made: dict[int, Picture] = {}
    pictures: list[Picture] = []
    for message in messages:
        parts = message.get("content")
        for part in parts if isinstance(parts, (list, tuple)) else ():
            if not isinstance(part, Mapping) or part.get("type") != "image":
                continue
            source, name = part.get("image"), f"{what}, image {len(pictures) + 1}"
            if source is None:
                raise DataError(
                    f'{name}: expected {{"type": "image", "image": path, bytes or an opened image}}'
                )
            if id(source) not in made:
                opened = source if hasattr(source, "convert") else open_image(source, name)
                made[id(source)] = processor.prepare(opened, name)
            pictures.append(made[id(source)])
    return tuple(pictures)


def expand(ids: Sequence[int], image_token_id: int, pictures: Sequence[Picture], what: str) -> list[int]:
    """Token ids with the image token once for each row of its picture.

    Raises:
        DataError: not one image token for each picture: the chat template wrote another number, or the text has some.
    """
    found = sum(token == image_token_id for token in ids)
    if found != len(pictures):
        raise DataError(
            f"{what}: the prompt has {found} image tokens (id {image_token_id}) for {len(pictures)} images. Either its "
            "text contains that token, or this chat template has no place for images"
        )
    remaining = iter(pictures)
    expanded: list[int] = []
    for token in ids:
        expanded += [token] * next(remaining).tokens if token == image_token_id else [token]
    return expanded


def pixels_and_grids(pictures: Sequence[Picture]) -> tuple[np.ndarray, np.ndarray]:
    """What a tower takes: float32[patches, numbers of a patch] one picture behind the other, int32[pictures, 2]."""
    return (
        np.concatenate([picture.processor.patches(picture) for picture in pictures]),
        np.array([picture.grid for picture in pictures], np.int32),
    )
