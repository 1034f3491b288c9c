"""Opens photos of every kind as they come: upright, in RGB, eight bits."""

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageOps

from raypipe.config.sections import Storage
from raypipe.core.masks import is_blank
from raypipe.core.pictures import DAMAGED, PictureError, open_picture

TRANSPARENT = ("RGBA", "LA", "PA", "RGBa", "La")
"""Pillow's modes with an alpha channel."""


@dataclass(frozen=True)
class Photo:
    """An opened photo, or why there is none."""

    pixels_HWC: np.ndarray | None
    """uint8, RGB, upright."""
    reason: str | None
    """`missing`, `unreadable` or `too large`; None for a photo that opened."""


def open_photo(data: bytes | None) -> Photo:
    """Encoded bytes to the pixels that an image viewer would show.

    The orientation in the EXIF data is applied, transparency is put on white, 16 bits a channel
    become 8 by their upper byte, and the first frame of an animation is taken. Colour profiles are
    not applied. A file that is cut off is unreadable as a whole.
    """
    if data is None:
        return Photo(None, "missing")
    try:
        image = open_picture(data)
    except PictureError as error:
        return Photo(None, error.reason)
    try:
        return Photo(np.array(_rgb(ImageOps.exif_transpose(image))), None)
    except DAMAGED:  # its EXIF data, which is read only now
        return Photo(None, "unreadable")


def _rgb(image: Image.Image) -> Image.Image:
    """The picture in mode RGB."""
    if image.mode.startswith("I"):  # Pillow would clip 16 bits, not scale them
        grey_HW = np.asarray(image).astype(np.int64) >> 8
        return Image.fromarray(grey_HW.clip(0, 255).astype(np.uint8)).convert("RGB")
    if image.mode in TRANSPARENT or "transparency" in image.info:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")


@dataclass(frozen=True)
class Encoded:
    """A picture as it is stored, or why there is none."""

    data: bytes | None
    width: int | None
    height: int | None
    reason: str | None


def encode(pixels_HWC: np.ndarray, storage: Storage) -> Encoded:
    """Encode a float picture (0 to 1), unless it is NaN or blank."""
    height, width, _ = pixels_HWC.shape
    if not np.isfinite(pixels_HWC).all():
        return Encoded(None, width, height, "nan")
    levels_HWC = (pixels_HWC * 255).round().clip(0, 255).astype(np.uint8)
    if is_blank(levels_HWC):
        return Encoded(None, width, height, "blank")
    return Encoded(to_bytes(Image.fromarray(levels_HWC), storage), width, height, None)


def to_bytes(image: Image.Image, storage: Storage) -> bytes:
    """A picture in its file format."""
    buffer = io.BytesIO()
    if storage.format == "png":
        image.save(buffer, "PNG", compress_level=3)
    elif storage.format == "webp":
        image.save(buffer, "WEBP", lossless=True, quality=50, method=2)
    else:
        image.save(buffer, "JPEG", quality=storage.quality)
    return buffer.getvalue()


def inspect(data: bytes | None) -> Encoded:
    """Keep the bytes of a picture that exists, if it can be opened and is not blank."""
    if data is None:
        return Encoded(None, None, None, "missing")
    try:
        image = decode(data)
    except PictureError as error:
        return Encoded(None, None, None, error.reason)
    reason = "blank" if is_blank(np.asarray(image)) else None
    return Encoded(None if reason else data, image.width, image.height, reason)


def decode(data: bytes) -> Image.Image:
    """Bytes to an RGB picture. PictureError, a ValueError, for what is no whole picture."""
    return open_picture(data).convert("RGB")
