"""What a pair of a good and a bad face is: its mask, its noise, and whether it is usable."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from raypipe.core.masks import Mask, Picture, box_mask, change, is_blank

SIZES = ((32.0, "small face"), (96.0, "medium face"), (float("inf"), "large face"))
"""Classes of faces by the square root of their box's area, pixels: those of COCO's objects."""


@dataclass(frozen=True)
class Side:
    """An inpainted picture, as it is judged and stored."""

    pixels_HWC: Picture | None
    data: bytes | None
    reason: str | None
    """The model's; None for a picture that was made."""
    has_face: bool
    """Whether the detector finds the face where it was."""


def judge(good: Side, bad: Side, mask_HW: Mask, least: float) -> tuple[float | None, str | None]:
    """How much a pair's sides differ under the mask, and why it is refused, if it is.

    least: change in levels of 255 below which a pair is `unchanged`.
    """
    if bad.pixels_HWC is None or good.pixels_HWC is None:
        return None, bad.reason or good.reason
    differs = change(good.pixels_HWC, bad.pixels_HWC, mask_HW)
    if is_blank(bad.pixels_HWC, mask_HW) or is_blank(good.pixels_HWC, mask_HW):
        return differs, "blank"
    if differs < least:
        return differs, "unchanged"
    if not bad.has_face:
        return differs, "face lost"
    return differs, None if good.has_face else "good face lost"


def mask_of(box: Sequence[float], margin: float, feather: float, picture_HWC: Picture) -> Mask:
    """The mask of a face; margin and feather as the table holds them, in single precision."""
    margin, feather = (float(np.float32(value)) for value in (margin, feather))
    return box_mask(box, picture_HWC.shape[:2], margin, feather)


def noise_seed(photo_id: str, face: int, seed: int) -> int:
    """The seed of one face's noise, 63 bits; no two faces share it, strengths of one face do."""
    digest = hashlib.sha256(f"{photo_id}/{face}/{seed}".encode()).digest()
    return int.from_bytes(digest[:8]) >> 1


def size_class(box: Sequence[float]) -> str:
    """Which of SIZES a face is.

    >>> size_class([0, 0, 30, 40])
    'medium face'
    """
    side = ((box[2] - box[0]) * (box[3] - box[1])) ** 0.5
    return next(name for limit, name in SIZES if side < limit)
