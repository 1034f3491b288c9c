"""The one place where encoded pictures are opened."""

import io
import struct
import warnings

from PIL import Image

from raypipe.core.limits import PICTURE, PIXELS, SCANS

FORMATS = ("PNG", "JPEG", "WEBP")
"""What is opened: Pillow's other decoders go as far as starting programs."""

UNREADABLE, TOO_LARGE = "unreadable", "too large"

SCAN = b"\xff\xda"
"""What begins a pass of a JPEG; in its data the first of these bytes is followed by 0."""

DAMAGED = (
    OSError,
    ValueError,
    SyntaxError,
    IndexError,
    TypeError,
    EOFError,
    struct.error,
    MemoryError,
    Image.DecompressionBombError,
)
"""What Pillow raises for bytes that are no whole picture."""

# Pillow's warning comes before its size can be asked for, and our limit is stricter
warnings.simplefilter("ignore", Image.DecompressionBombWarning)


class PictureError(ValueError):
    """Bytes that are no picture that is taken; its message is a clause that says why."""

    def __init__(self, why: str, reason: str):
        super().__init__(why, reason)
        self.reason = reason
        """`unreadable` or `too large`."""

    def __str__(self) -> str:
        return str(self.args[0])


def open_picture(data: bytes, draft: int | None = None) -> Image.Image:
    """A PNG, JPEG or WebP picture with its pixels decoded, in its own mode.

    draft: a JPEG may be decoded at a fraction of its size, as long as its sides have this many
    pixels. Raises PictureError for a file that is cut off or damaged, of another format, or beyond
    a limit (`raypipe.core.limits`).
    """
    if len(data) > PICTURE:
        raise PictureError(f"it has {len(data):,} bytes, more than {PICTURE:,}", TOO_LARGE)
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
        width, height = image.size
        if width * height > PIXELS:
            raise PictureError(f"it has {width}×{height} pixels, more than {PIXELS:,}", TOO_LARGE)
        if image.format in ("JPEG", "MPO") and (scans := data.count(SCAN)) > SCANS:
            raise PictureError(f"it is a JPEG of {scans} passes, more than {SCANS}", TOO_LARGE)
        if draft is not None:
            image.draft("RGB", (draft, draft))
        image.load()
    except PictureError:
        raise
    except Image.DecompressionBombError:
        raise PictureError(f"it has more than {PIXELS:,} pixels", TOO_LARGE) from None
    except DAMAGED as error:
        why = f"it is no whole PNG, JPEG or WebP ({type(error).__name__})"
        raise PictureError(why, UNREADABLE) from None
    return image
