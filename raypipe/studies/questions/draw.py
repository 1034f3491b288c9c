"""The pictures that people see: grids and single ones, small, and without any trace of a model."""

import io
import math
import random
from collections.abc import Sequence

from PIL import Image

from raypipe.inputs.codec import open_photo

GAP = 4
"""Pixels between the pictures of a grid."""

QUALITY = 92

BLOCKS = 4
"""A scrambled picture is cut into so many blocks each way."""


def grid(pictures: Sequence[bytes], size: int) -> bytes:
    """Encoded pictures side by side in rows, WebP, at most about `size` pixels wide.

    Every picture is scaled into a cell of one size, which is never larger than the largest picture.
    """
    columns = math.ceil(math.sqrt(len(pictures)))
    opened = [_open(data) for data in pictures]
    largest = max(max(picture.size) for picture in opened)
    cell = max(1, min(largest, (size - GAP * (columns - 1)) // columns))
    rows = math.ceil(len(opened) / columns)
    step = cell + GAP
    sheet = Image.new("RGB", (columns * step - GAP, rows * step - GAP), "white")
    for number, picture in enumerate(opened):
        small = _fit(picture, cell)
        x, y = step * (number % columns), step * (number // columns)
        sheet.paste(small, (x + (cell - small.width) // 2, y + (cell - small.height) // 2))
    return _encode(sheet)


def single(picture: bytes, size: int) -> bytes:
    """One encoded picture, WebP, its longest side at most `size` pixels."""
    return _encode(_fit(_open(picture), size))


def scrambled(picture: bytes, size: int, seed: int) -> bytes:
    """A picture whose blocks have changed places: anybody sees that it is worse."""
    image = _fit(_open(picture), size)
    width, height = image.width // BLOCKS, image.height // BLOCKS
    places = [(x * width, y * height) for y in range(BLOCKS) for x in range(BLOCKS)]
    sources = list(places)
    random.Random(seed).shuffle(sources)
    mixed = image.copy()
    for (x, y), (from_x, from_y) in zip(places, sources, strict=True):
        mixed.paste(image.crop((from_x, from_y, from_x + width, from_y + height)), (x, y))
    return _encode(mixed)


def _open(data: bytes) -> Image.Image:
    photo = open_photo(data)
    assert photo.pixels_HWC is not None, "pictures that cannot be opened make no questions"
    return Image.fromarray(photo.pixels_HWC)


def _fit(picture: Image.Image, size: int) -> Image.Image:
    small = picture.copy()
    small.thumbnail((size, size), Image.Resampling.LANCZOS)
    return small


def _encode(picture: Image.Image) -> bytes:
    """As WebP, with nothing but pixels in the file."""
    out = io.BytesIO()
    picture.save(out, "WEBP", quality=QUALITY, method=4)
    return out.getvalue()
