"""Which part of a photo a model works on, when a face is inpainted."""

from collections.abc import Sequence

Region = tuple[int, int, int, int]
"""x0, y0, x1, y1 in whole pixels, inside the picture."""


def crop_for(
    box: Sequence[float],
    size: tuple[int, int],
    resolution: int,
    context: float = 2.0,
    magnify: float = 1.0,
) -> Region:
    """A square part of a picture that holds a box, near its middle, clamped to the picture.

    box: what is masked, feather and all; it may leave the picture. size: (H, W). The side is
    `context` times the box's longer one, but no less than resolution / magnify pixels: `magnify` is
    how many times a small face may be enlarged for the model, which works at `resolution` pixels.
    At 1 a small face stays as small as in the photo, which is where models paint bad faces; people
    who repair faces take 4 and more. Where the picture is too narrow for a square that holds the
    box, the region is as wide as the picture, and longer; the model then sees it stretched. Raises
    ValueError for a box that misses the picture.
    """
    height, width = size
    x0, y0, x1, y1 = box
    if not (x0 < min(x1, width) and y0 < min(y1, height) and x1 > 0 and y1 > 0):
        raise ValueError(f"a box must lie in the {width}×{height} picture, got {tuple(box)}")
    if context < 1 or magnify < 1:
        raise ValueError(f"context and magnify must be at least 1, got {context} and {magnify}")
    x0, y0, x1, y1 = max(x0, 0), max(y0, 0), min(x1, width), min(y1, height)
    side = max(context * max(x1 - x0, y1 - y0), resolution / magnify)
    side = max(1, round(min(side, height, width)))
    left, right = _stretch(x0, x1, side, width)
    top, bottom = _stretch(y0, y1, side, height)
    return left, top, right, bottom


def _stretch(low: float, high: float, side: int, length: int) -> tuple[int, int]:
    """`side` whole pixels of `length` around [low, high], or more where they do not hold it."""
    first, last = int(low), -int(-high // 1)  # outwards to whole pixels
    side = min(max(side, last - first), length)
    start = round((low + high - side) / 2)
    start = min(max(start, last - side), first)  # still holds the box
    start = min(max(start, 0), length - side)
    return start, start + side


def overlap(a: Sequence[float], b: Sequence[float]) -> float:
    """Intersection over union of two boxes x0, y0, x1, y1, from 0 to 1.

    >>> overlap((0, 0, 2, 2), (1, 0, 3, 2))
    0.3333333333333333
    """
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return float(width * height / (sum(areas) - width * height))
