"""Pictures made small for a page."""

import io


def make_thumbnail(image: bytes, size: int = 160) -> bytes:
    """Encode a picture small: WebP, its long side at most `size` pixels, never enlarged.

    image: an encoded picture. Raises PictureError for what is none.
    """
    from PIL import Image

    from raypipe.core.pictures import open_picture

    out = io.BytesIO()
    small = open_picture(image, draft=size).convert("RGB")
    small.thumbnail((size, size), Image.Resampling.LANCZOS)
    small.save(out, "WEBP", quality=78, method=4)
    return out.getvalue()
