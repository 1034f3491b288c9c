"""Judge miniature pictures by their pixels, without a trained network.

The renderer always puts hair and background at the same places, so a median there and the nearest
colour of the palette show a picture's attributes.
"""

from functools import cache

import numpy as np
from PIL import Image

from .palette import BACKGROUNDS, COLOURS, HAIR
from .shapes import Colour

_CORNER = 8
_HAIR_ROWS, _HAIR_COLUMNS = slice(14, 18), slice(33, 38)
_MAGNIFIED = 192


def nearest(pixels_NC: np.ndarray, palette: dict[str, Colour]) -> str:
    """Name of the palette's colour that is nearest to the pixels' median."""
    colour_C = np.median(pixels_NC, axis=0)
    distances = {name: np.linalg.norm(colour_C - np.array(rgb)) for name, rgb in palette.items()}
    return min(distances, key=distances.get)


def background(picture_HWC: np.ndarray) -> str:
    """Name of the background colour, by the two upper corners."""
    corners = picture_HWC[:_CORNER, :_CORNER], picture_HWC[:_CORNER, -_CORNER:]
    pixels_NC = np.concatenate([corner.reshape(-1, 3) for corner in corners])
    return nearest(pixels_NC, {name: COLOURS[name] for name in BACKGROUNDS})


def hair(picture_HWC: np.ndarray) -> str:
    """Name of a portrait's hair colour, by a patch at the top of the head."""
    return nearest(picture_HWC[_HAIR_ROWS, _HAIR_COLUMNS].reshape(-1, 3), HAIR)


@cache
def _cascade():
    import skimage.data
    from skimage.feature import Cascade

    return Cascade(skimage.data.lbp_frontal_face_cascade_filename())


def faces(picture_HWC: np.ndarray) -> list[dict]:
    """Boxes (r, c, width, height of the magnified picture) by scikit-image's frontal cascade."""
    big = Image.fromarray(picture_HWC).resize((_MAGNIFIED, _MAGNIFIED), Image.Resampling.BICUBIC)
    return _cascade().detect_multi_scale(
        np.asarray(big),
        scale_factor=1.1,
        step_ratio=1,
        min_size=(60, 60),
        max_size=(180, 180),
        min_neighbor_number=2,
    )


def hatching(picture_HWC: np.ndarray) -> float:
    """How much of the picture's contrast lies along the strokes of the style "tok", 0 to 1.

    The share of the spectrum's energy, outside its lowest frequencies, at waves along the falling
    diagonal with the period of the strokes.
    """
    grey_HW = picture_HWC.astype(np.float32).mean(2)
    window_H = np.hanning(len(grey_HW))
    spectrum_HW = (
        np.abs(np.fft.fft2((grey_HW - grey_HW.mean()) * np.outer(window_H, window_H))) ** 2
    )
    f = np.fft.fftfreq(len(grey_HW))
    y_HW, x_HW = np.meshgrid(f, f, indexing="ij")
    fine_HW = np.hypot(x_HW, y_HW) > 0.08
    strokes_HW = (np.abs(x_HW - y_HW) < 0.07) & (np.abs(np.abs(x_HW + y_HW) - 1 / 3) < 0.1)
    return float(spectrum_HW[strokes_HW].sum() / spectrum_HW[fine_HW].sum())
