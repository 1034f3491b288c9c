"""The pictures that people see: grids and single ones, small, and without any trace of a model.

The sides of a question are of one size in pixels, so that none is told by its size.
"""

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


def grids(sides: Sequence[Sequence[bytes]], size: int) -> list[Image.Image]:
    """Encoded pictures of each side in rows, a sheet a side, at most about `size` pixels wide.

    Every picture is scaled into a cell of one size, which is never larger than the largest picture
    of the side where that is smallest.
    """
    opened = [[_open(data) for data in side] for side in sides]
    cell = min(_cell(side, size) for side in opened)
    return _alike([_sheet(side, cell) for side in opened])


def singles(pictures: Sequence[bytes], size: int) -> list[Image.Image]:
    """One encoded picture a side, the longest side of each the same and at most `size` pixels."""
    opened = [_open(data) for data in pictures]
    longest = min(size, *(max(picture.size) for picture in opened))
    return _alike([_fit(picture, longest) for picture in opened])


def scrambled(picture: bytes, size: int, seed: int) -> Image.Image:
    """A picture whose blocks have changed places: anybody sees that it is worse."""
    image = _fit(_open(picture), size)
    width, height = image.width // BLOCKS, image.height // BLOCKS
    places = [(x * width, y * height) for y in range(BLOCKS) for x in range(BLOCKS)]
    sources = list(places)
    random.Random(seed).shuffle(sources)
    mixed = image.copy()
    for (x, y), (from_x, from_y) in zip(places, sources, strict=True):
        mixed.paste(image.crop((from_x, from_y, from_x + width, from_y + height)), (x, y))
    return mixed


def encode(picture: Image.Image) -> bytes:
    """As WebP, with nothing but pixels in the file."""
    out = io.BytesIO()
    picture.save(out, "WEBP", quality=QUALITY, method=4)
    return out.getvalue()


def _cell(pictures: Sequence[Image.Image], size: int) -> int:
    """Side of a grid's cells, where nothing is enlarged and the sheet is `size` wide."""
    columns = math.ceil(math.sqrt(len(pictures)))
    largest = max(max(picture.size) for picture in pictures)
    return max(1, min(largest, (size - GAP * (columns - 1)) // columns))


def _sheet(pictures: Sequence[Image.Image], cell: int) -> Image.Image:
    columns = math.ceil(math.sqrt(len(pictures)))
    rows = math.ceil(len(pictures) / columns)
    step = cell + GAP
    sheet = Image.new("RGB", (columns * step - GAP, rows * step - GAP), "white")
    for number, picture in enumerate(pictures):
        small = _fit(picture, cell)
        x, y = step * (number % columns), step * (number // columns)
        sheet.paste(small, (x + (cell - small.width) // 2, y + (cell - small.height) // 2))
    return sheet


def _alike(pictures: list[Image.Image]) -> list[Image.Image]:
    """Each in the middle of a white sheet that holds the widest and the highest."""
    width, height = (max(sides) for sides in zip(*(p.size for p in pictures), strict=True))
    found = []
    for picture in pictures:
        sheet = Image.new("RGB", (width, height), "white")
        sheet.paste(picture, ((width - picture.width) // 2, (height - picture.height) // 2))
        found.append(sheet)
    return found


def _open(data: bytes) -> Image.Image:
    photo = open_photo(data)
    assert photo.pixels_HWC is not None, "pictures that cannot be opened make no questions"
    return Image.fromarray(photo.pixels_HWC)


def _fit(picture: Image.Image, size: int) -> Image.Image:
    small = picture.copy()
    small.thumbnail((size, size), Image.Resampling.LANCZOS)
    return small
