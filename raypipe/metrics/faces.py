"""One score of a picture from those of its faces."""

from collections.abc import Sequence
from typing import Literal

import numpy as np

Box = Sequence[float]


def aggregate(
    scores: Sequence[float], boxes: Sequence[Box], how: Literal["min", "mean", "area"]
) -> float:
    """The lowest score, the mean, or the mean weighted by area, of one picture's faces.

    scores (F,), boxes (F, 4) as x0, y0, x1, y1. ValueError for no face.

    >>> aggregate([1.0, 4.0], [(0, 0, 1, 1), (0, 0, 1, 2)], "area")
    3.0
    """
    if not len(scores) or len(scores) != len(boxes):
        raise ValueError(f"each face needs its score, got {len(scores)} of {len(boxes)}")
    if how == "min":
        return float(min(scores))
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in boxes]
    return float(np.average(scores, weights=areas if how == "area" else None))
