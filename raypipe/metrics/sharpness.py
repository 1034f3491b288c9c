"""Sharpness: what a metric of faces must beat, for an inpainted face is often just blurred."""

import numpy as np
from PIL import Image

from raypipe.metrics import settings
from raypipe.metrics.registry import Pictures, Prompts


class Sharpness:
    """Variance of the Laplacian of the grey picture: more fine structure, larger value.

    The picture is made grey (luma, ITU-R 601), its short side resized to `size` (bicubic,
    antialiased) and the centre cut out, so that pictures of all sizes are scored alike. The
    Laplacian of a grey value (0 to 255) is the sum of its four neighbours minus four times itself,
    taken where all four are inside; the score is its population variance. A picture that is
    smaller is enlarged, and therefore blurred.
    Source: Pech-Pacheco et al. 2000, "Diatom autofocusing in brightfield microscopy".
    """

    def __init__(self, config: settings.Sharpness, device: str = "cpu"):
        """`device` is not used: this is arithmetic on one small picture."""
        self._size = config.size

    def __call__(self, pictures: Pictures, prompts: Prompts = None) -> np.ndarray:
        """Scores (B,), 0 or more."""
        return np.array([variance_of_laplacian(grey(p, self._size)) for p in pictures])


def grey(picture: Image.Image, size: int) -> np.ndarray:
    """Grey values (size, size), float64 from 0 to 255."""
    luma = picture.convert("RGB").convert("L")
    scale = size / min(luma.size)
    width, height = (max(size, round(side * scale)) for side in luma.size)
    luma = luma.resize((width, height), Image.Resampling.BICUBIC)
    left, top = (width - size) // 2, (height - size) // 2
    return np.asarray(luma.crop((left, top, left + size, top + size)), dtype=np.float64)


def variance_of_laplacian(grey_HW: np.ndarray) -> float:
    """Population variance of the four-neighbour Laplacian, (H, W) → scalar."""
    inner = grey_HW[1:-1, 1:-1]
    laplacian = (
        grey_HW[:-2, 1:-1] + grey_HW[2:, 1:-1] + grey_HW[1:-1, :-2] + grey_HW[1:-1, 2:] - 4 * inner
    )
    return float(laplacian.var())
