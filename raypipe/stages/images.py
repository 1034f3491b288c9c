"""Pictures to bytes and back, and what makes one unusable."""

import io
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from PIL import Image

from raypipe import schema
from raypipe.pictures import DAMAGED, FORMATS
from raypipe.settings import Storage

BLANK_SPREAD = 2
"""A picture whose brightest and darkest values differ by less, in every channel, shows nothing."""

ADDED = pa.schema(
    [schema.IMAGES.field(name) for name in schema.IMAGES.names if name not in schema.SAMPLES.names]
)
"""Columns that turn planned samples into stored images."""


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
    image = Image.fromarray((pixels_HWC * 255).round().clip(0, 255).astype(np.uint8))
    if is_blank(image):
        return Encoded(None, width, height, "blank")
    return Encoded(to_bytes(image, storage), width, height, None)


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
    """Keep the bytes of a picture that exists, if it can be opened and shows something."""
    if data is None:
        return Encoded(None, None, None, "missing")
    try:
        image = decode(data)
    except DAMAGED:
        return Encoded(None, None, None, "unreadable")
    reason = "blank" if is_blank(image) else None
    return Encoded(None if reason else data, image.width, image.height, reason)


def decode(data: bytes) -> Image.Image:
    """Bytes to an RGB picture."""
    image = Image.open(io.BytesIO(data), formats=FORMATS)
    return image.convert("RGB")


def is_blank(image: Image.Image) -> bool:
    """Whether every channel is the same all over."""
    extrema = image.convert("RGB").getextrema()
    return all(high - low < BLANK_SPREAD for low, high in extrema)


def image_columns(encoded: list[Encoded], truncated: list[bool], device: str | None) -> pa.Table:
    """The columns that a picture adds to its sample."""
    return pa.table(
        {
            "image": [e.data for e in encoded],
            "width": [e.width for e in encoded],
            "height": [e.height for e in encoded],
            "device": [device] * len(encoded),
            "truncated": truncated,
            "status": [schema.QUARANTINED if e.reason else schema.OK for e in encoded],
            "reason": [e.reason for e in encoded],
        },
        schema=ADDED,
    )


def stored_images(samples: pa.Table) -> pa.Table:
    """What the images file of a batch holds."""
    return samples.select(schema.IMAGES.names).cast(schema.IMAGES)
