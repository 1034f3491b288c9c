"""Opens photos of every kind as they come: upright, in RGB, eight bits."""

import io
import struct
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageOps

FORMATS = ("PNG", "JPEG", "WEBP")
"""What is opened: Pillow's other decoders go as far as starting programs."""

DAMAGED = (
    OSError,
    ValueError,
    SyntaxError,
    IndexError,
    TypeError,
    EOFError,
    struct.error,
    Image.DecompressionBombError,
)
"""What Pillow raises for bytes that are no whole picture."""

TRANSPARENT = ("RGBA", "LA", "PA", "RGBa", "La")
"""Pillow's modes with an alpha channel."""


@dataclass(frozen=True)
class Photo:
    """An opened photo, or why there is none."""

    pixels_HWC: np.ndarray | None
    """uint8, RGB, upright."""
    reason: str | None
    """`missing` or `unreadable`; None for a photo that opened."""


def open_photo(data: bytes | None) -> Photo:
    """Encoded bytes to the pixels that a viewer of pictures would show.

    The orientation in the EXIF data is applied, the transparent lies on white, 16 bits a channel
    become 8 by their upper byte, and of an animation the first frame is taken. Colour profiles are
    not applied. A file that is cut off is unreadable as a whole.
    """
    if data is None:
        return Photo(None, "missing")
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            image.load()
            return Photo(np.array(_rgb(ImageOps.exif_transpose(image))), None)
    except DAMAGED:
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
