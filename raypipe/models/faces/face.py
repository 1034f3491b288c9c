"""A detected face, the interface of detectors, and helpers that they share."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

Box = tuple[float, float, float, float]
"""x0, y0, x1, y1 in pixels of the upright picture; its origin is the outer corner, top left."""


@dataclass(frozen=True)
class Face:
    """One face that a detector has found."""

    box: Box
    """Inside the picture: a face cut by the border ends there."""
    confidence: float | None = None
    """0 to 1; None where the detector has none."""
    neighbours: int | None = None
    """Windows of a cascade that fired at this face, a measure of confidence; None for others."""
    landmarks: tuple[tuple[float, float], ...] | None = None
    """Left eye, right eye, nose, left and right corner of the mouth, as seen in the picture."""


class FaceDetector(Protocol):
    """The interface of every backend."""

    def __call__(self, pictures: Sequence[np.ndarray]) -> list[list[Face]]:
        """The faces of each picture (uint8 RGB H×W×3, of any sizes), the largest first."""


def check_picture(picture_HWC: np.ndarray) -> None:
    """Raise ValueError unless a picture is uint8 of three channels, as `open_photo` returns."""
    if picture_HWC.dtype != np.uint8 or picture_HWC.ndim != 3 or picture_HWC.shape[2] != 3:
        raise ValueError(
            f"a picture must be uint8 H×W×3, got {picture_HWC.dtype} {picture_HWC.shape}"
        )


def inside(box: Sequence[float], height: int, width: int) -> Box | None:
    """The part of a box that lies in the picture; None where nothing does.

    >>> inside((-3, 2, 8, 30), height=20, width=10)
    (0.0, 2.0, 8.0, 20.0)
    """
    x0, y0, x1, y1 = (float(value) for value in box)
    x0, y0, x1, y1 = max(x0, 0.0), max(y0, 0.0), min(x1, float(width)), min(y1, float(height))
    return (x0, y0, x1, y1) if x1 > x0 and y1 > y0 else None


def largest_first(faces: list[Face]) -> list[Face]:
    """Faces by their boxes' area."""
    return sorted(faces, key=lambda f: (f.box[2] - f.box[0]) * (f.box[3] - f.box[1]), reverse=True)
