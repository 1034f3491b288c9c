"""The ground truth of miniature faces: how well the renderer's own face explains a picture.

No network is used. The renderer has six numbers for a face's place, and a few attributes for its
looks: the best-fitting face is searched, its colours shifted and scaled freely, and the remaining
difference is how bad the face is. Shape letters: D values of the window around the face
(rows × columns × colours), T templates, S shifts by whole pixels.
"""

from functools import cache, lru_cache
from itertools import product

import numpy as np
from PIL import Image

from raypipe.errors import UserError

from . import judge
from .palette import HAIR, SKIN
from .portrait import draw, place
from .shapes import ellipse
from .specs import EXPRESSIONS, Portrait

SIDE = 64
"""Side of the pictures that the judge knows."""

ROWS, COLUMNS = slice(15, 54), slice(18, 47)
"""The window of the picture in which every face lies."""

SHIFTS = tuple(product((-1, 0, 1), (-2, -1, 0, 1, 2)))
"""Whole pixels, down and across, by which a face may be off the middle."""

CLOSEST = 6
"""Templates that are fitted in full."""

HALVES = tuple((x, y) for x in (0.0, 0.25) for y in (0.0, 0.4167))
"""Half a pixel across and down, in the first two of the six numbers: see `portrait.place`."""

STEPS = np.array([0.15, 0.25, 0.5, 0.5, 0.5, 0.5])
"""Steps of the six numbers for their derivatives."""

BOUNDS = np.array([0.25, 0.4, 1.1, 1.1, 1.1, 1.1])
"""How far each number may move from a template that was shifted by whole pixels."""

_CHEEKS = np.s_[31:37, 29:35]
"""A patch beside the nose."""


def judged(picture: Image.Image, what: str) -> float:
    """`score` of a picture. UserError, naming `what`, for a size that the judge does not know."""
    if picture.size != (SIDE, SIDE):
        size = "×".join(map(str, picture.size))
        raise UserError(f"{what} knows pictures of {SIDE}×{SIDE}, got one of {size}")
    return score(np.asarray(picture.convert("RGB")))


def score(picture_HWC: np.ndarray) -> float:
    """How good the face is, at most 0: minus the root mean square that no rendering explains.

    In levels of 255, over the inside of the face of a 64×64 picture. Of 100 renders: −1 to −9, and
    after the VAE −7 to −12; with a shuffled, warped or blurred face mostly −9 to −50. The ranges
    touch, so compare two pictures of one portrait, not one picture with a threshold.
    """
    window_D = picture_HWC[ROWS, COLUMNS].astype(np.float32).reshape(-1)
    skin = judge.nearest(picture_HWC[_CHEEKS].reshape(-1, 3), SKIN)
    hair = judge.hair(picture_HWC)
    templates_TSD, inside_SD = _bank(skin, hair)
    rough_TS = _rough(window_D, templates_TSD, inside_SD)
    best = np.argsort(rough_TS, axis=None)[:CLOSEST]
    return -min(
        _fitted(window_D, skin, hair, *(int(i) for i in np.unravel_index(one, rough_TS.shape)))
        for one in best
    )


@cache
def _looks() -> tuple[tuple[str, str, str, tuple[float, float]], ...]:
    """Person, hairstyle, expression and half pixels of each template: both fringes."""
    people = (("woman", "long"), ("woman", "bun"), ("man", "curly"), ("man", "short"))
    return tuple((*who, mood, half) for half in HALVES for who in people for mood in EXPRESSIONS)


def _window(skin: str, hair: str, look: int, jitter_6: np.ndarray) -> np.ndarray:
    """The picture of a template, with a rim of two pixels to shift it in; float32 H×W×3."""
    person, hairstyle, expression, half = _looks()[look]
    spec = Portrait(person, skin, hair, hairstyle, expression, "white", "white")
    picture = draw(spec, place(jitter_6 + np.array([*half, 0, 0, 0, 0]))).astype(np.float32)
    return picture[ROWS.start - 1 : ROWS.stop + 1, COLUMNS.start - 2 : COLUMNS.stop + 2]


def _shifted(rimmed_HWC: np.ndarray) -> np.ndarray:
    """A rimmed picture moved by every shift, and cut to the window (S, D)."""
    height, width = ROWS.stop - ROWS.start, COLUMNS.stop - COLUMNS.start
    cuts = [rimmed_HWC[1 - y : 1 - y + height, 2 - x : 2 - x + width] for y, x in SHIFTS]
    return np.stack([cut.reshape(-1) for cut in cuts])


@lru_cache(len(SKIN) * len(HAIR))
def _bank(skin: str, hair: str) -> tuple[np.ndarray, np.ndarray]:
    """Every template at every shift (T, S, D), and what counts as inside its face (S, D)."""
    looks = range(len(_looks()))
    templates_TSD = np.stack([_shifted(_window(skin, hair, i, np.zeros(6))) for i in looks])
    marks = place(np.zeros(6))
    a, b = marks["radii"]
    face_HW = ellipse(marks["centre"], (a - 1.0, b - 1.5)) < 0
    rimmed = face_HW[ROWS.start - 1 : ROWS.stop + 1, COLUMNS.start - 2 : COLUMNS.stop + 2]
    inside_SD = _shifted(np.repeat(rimmed[..., None], 3, axis=2))
    return templates_TSD, inside_SD


def _rough(window_D: np.ndarray, templates_TSD: np.ndarray, inside_SD: np.ndarray) -> np.ndarray:
    """Mean square difference (T, S) inside the face, after each colour's mean is taken off."""
    weight_S1 = inside_SD.sum(axis=1, keepdims=True) / 3
    difference_TSD = (window_D - templates_TSD) * inside_SD
    sums_TSC = difference_TSD.reshape(*difference_TSD.shape[:2], -1, 3).sum(2)
    return (difference_TSD**2).sum(2) - (sums_TSC**2).sum(2) / weight_S1[:, 0]


@lru_cache(4096)
def _directions(skin: str, hair: str, look: int, shift: int) -> np.ndarray:
    """What a unit of each of the six numbers changes in a template (6, D)."""
    rows = []
    for axis in np.eye(6) * STEPS:
        ahead, behind = (_window(skin, hair, look, sign * axis) for sign in (1, -1))
        rows.append(_shifted(ahead - behind)[shift] / (2 * axis.sum()))
    return np.stack(rows)


def _fitted(window_D: np.ndarray, skin: str, hair: str, look: int, shift: int) -> float:
    """Root mean square that is left of the window when one template is moved and coloured."""
    templates_TSD, inside_SD = _bank(skin, hair)
    inside_D = inside_SD[shift].astype(bool)
    template = templates_TSD[look, shift][inside_D]
    colours = np.tile(np.eye(3, dtype=np.float32), (len(window_D) // 3, 1))[inside_D]
    basis = np.column_stack(
        [_directions(skin, hair, look, shift)[:, inside_D].T, colours, colours * template[:, None]]
    )
    wanted = window_D[inside_D] - template
    found = np.linalg.lstsq(basis, wanted, rcond=None)[0]
    moved = basis[:, :6] @ np.clip(found[:6], -BOUNDS, BOUNDS)
    tint = np.linalg.lstsq(basis[:, 6:], wanted - moved, rcond=None)[0]
    rest = wanted - moved - basis[:, 6:] @ tint
    return float(np.sqrt(np.mean(rest**2)))
