"""The embedded detector: scikit-image's LBP cascade of frontal faces.

Its weights are OpenCV's `lbpcascade_frontalface.xml` (BSD), which scikit-image ships. It finds
upright frontal faces, also drawn ones, and some false ones: the number of neighbouring windows
that fired separates those better than the cascade itself.
"""

from collections.abc import Sequence

import numpy as np
from PIL import Image
from scipy.sparse.csgraph import connected_components

from raypipe.config.networks import Detector
from raypipe.models.faces.face import Face, check_picture, inside, largest_first

SHORTEST, LONGEST = 128, 384
"""Pictures are enlarged until their longest side has the first, and reduced to the second."""

WINDOW = 24
"""Side of the cascade's own window: no smaller face can be found."""

SCALE_STEP = 1.1
"""Ratio between the sizes of windows that are tried."""

OVERLAP = 0.4
"""Windows whose intersection is a larger part of their union belong to one face."""


class LbpDetector:
    """scikit-image's cascade, with the windows that fired merged here so that they are counted."""

    def __init__(self, config: Detector):
        import skimage.data
        from skimage.feature import Cascade

        self._cascade = Cascade(skimage.data.lbp_frontal_face_cascade_filename())
        self._longest = config.longest or LONGEST
        self._min_neighbours = config.min_neighbours

    def __call__(self, pictures: Sequence[np.ndarray]) -> list[list[Face]]:
        """See `FaceDetector`; a face's box is the mean of the windows that fired at it."""
        return [self._detect(picture) for picture in pictures]

    def _detect(self, picture_HWC: np.ndarray) -> list[Face]:
        check_picture(picture_HWC)
        height, width = picture_HWC.shape[:2]
        scale = min(max(1.0, SHORTEST / max(height, width)), self._longest / max(height, width))
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        if min(size) < WINDOW:
            return []
        resized = Image.fromarray(picture_HWC).resize(size, Image.Resampling.BICUBIC)
        boxes_N4 = self._windows(np.asarray(resized)) / np.tile(
            (size[0] / width, size[1] / height), 2
        )
        faces = [
            Face(box, neighbours=count)
            for mean_4, count in merged(boxes_N4)
            if count >= self._min_neighbours
            and (box := inside(mean_4.tolist(), height, width)) is not None
        ]
        return largest_first(faces)

    def _windows(self, picture_HWC: np.ndarray) -> np.ndarray:
        """Every window that fires, N×4, x0 y0 x1 y1."""
        side = min(picture_HWC.shape[:2])
        found = self._cascade.detect_multi_scale(
            picture_HWC,
            scale_factor=SCALE_STEP,
            step_ratio=1,
            min_size=(WINDOW, WINDOW),
            max_size=(side, side),
            min_neighbor_number=1,
            intersection_score_threshold=2.0,  # out of reach: it merges none
        )
        rows = [(f["c"], f["r"], f["c"] + f["width"], f["r"] + f["height"]) for f in found]
        return np.array(rows, float).reshape(-1, 4)


def merged(boxes_N4: np.ndarray) -> list[tuple[np.ndarray, int]]:
    """Mean box and count of each group of boxes that overlap, directly or through others."""
    if len(boxes_N4) == 0:
        return []
    low_NN2 = np.maximum(boxes_N4[:, None, :2], boxes_N4[None, :, :2])
    high_NN2 = np.minimum(boxes_N4[:, None, 2:], boxes_N4[None, :, 2:])
    common_NN = (high_NN2 - low_NN2).clip(0).prod(2)
    area_N = (boxes_N4[:, 2:] - boxes_N4[:, :2]).prod(1)
    overlap_NN = common_NN / (area_N[:, None] + area_N[None] - common_NN)
    count, group_N = connected_components(overlap_NN > OVERLAP, directed=False)
    groups = [boxes_N4[group_N == group] for group in range(count)]
    return [(group.mean(0), len(group)) for group in groups]
