"""Pictures made small for a page."""

import io


def make_thumbnail(image: bytes, size: int = 160) -> bytes:
    """Encode a picture small: WebP, its long side at most `size` pixels, never enlarged.

    image: an encoded picture. Raises PIL's errors for what is none.
    """
    from PIL import Image

    out = io.BytesIO()
    with Image.open(io.BytesIO(image)) as picture:
        picture.draft("RGB", (size, size))  # lets JPEG decode at a fraction of the size
        small = picture.convert("RGB")
    small.thumbnail((size, size), Image.Resampling.LANCZOS)
    small.save(out, "WEBP", quality=78, method=4)
    return out.getvalue()
