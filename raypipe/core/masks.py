"""Masks over faces, and pasting back what was inpainted under them.

Shape letters: H, W picture, C colours, h, w latents. Boxes are x0, y0, x1, y1 in pixels from the
outer corner at the top left, so pixel (row r, column c) has its centre at (c + ½, r + ½).
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.float32]
Picture = NDArray[np.uint8]

BLANK_SPREAD = 2
"""A region whose values differ by less, in every channel, is blank."""


def grow(box: Sequence[float], margin: float) -> tuple[float, float, float, float]:
    """The box with `margin` of its width and height added on each side; it may leave the picture.

    >>> grow((10, 10, 20, 30), 0.5)
    (5.0, 0.0, 25.0, 40.0)
    """
    x0, y0, x1, y1 = box
    if not (x1 > x0 and y1 > y0):
        raise ValueError(f"a box must have x0 < x1 and y0 < y1, got {tuple(box)}")
    if margin < 0:
        raise ValueError(f"margin must not be negative, got {margin}")
    dx, dy = margin * (x1 - x0), margin * (y1 - y0)
    return float(x0 - dx), float(y0 - dy), float(x1 + dx), float(y1 + dy)


def box_mask(
    box: Sequence[float], size: tuple[int, int], margin: float = 0.0, feather: float = 0.0
) -> Mask:
    """Mask (H, W) of a box grown by `margin`: zero outside it, and one well inside.

    `size` is (H, W). `feather` is the width of the ramp inside the grown box's edge: a share of its
    shorter side below 1, else pixels; 0 is a hard edge. The ramp is linear across an edge and the
    product of two ramps at a corner. Where the box leaves the picture no ramp is seen, since it
    lies outside: a face that the border cuts is masked up to the border. Raises ValueError for a
    box that misses every pixel.
    """
    x0, y0, x1, y1 = grow(box, margin)
    if feather < 0:
        raise ValueError(f"feather must not be negative, got {feather}")
    ramp = feather * min(x1 - x0, y1 - y0) if feather < 1 else feather
    height, width = size
    mask_HW = np.outer(_ramps(y0, y1, height, ramp), _ramps(x0, x1, width, ramp))
    if not mask_HW.any():
        raise ValueError(f"a mask must cover a pixel of the {width}×{height} picture, got {box}")
    return np.asarray(mask_HW, np.float32)


def _ramps(low: float, high: float, count: int, ramp: float) -> NDArray[np.float64]:
    """Along one axis: 0 outside [low, high], rising to 1 over `ramp` pixels on both sides."""
    centres = np.arange(count) + 0.5
    depth = np.minimum(centres - low, high - centres)
    if ramp == 0:
        return np.asarray(depth >= 0, np.float64)
    return np.asarray(np.clip(depth / ramp, 0.0, 1.0))


def paste(original_HWC: Picture, inpainted_HWC: Picture, mask_HW: Mask) -> Picture:
    """original + mask · (inpainted − original), rounded; uint8 (H, W, C).

    Where the mask is 0 the original's bits, where it is 1 the inpainted picture's.
    """
    for name, picture in (("original", original_HWC), ("inpainted", inpainted_HWC)):
        if picture.dtype != np.uint8 or picture.shape[:2] != mask_HW.shape:
            raise ValueError(
                f"{name} must be uint8 of the mask's {mask_HW.shape}, got {picture.dtype} "
                f"{picture.shape}"
            )
    mask_HW1 = mask_HW[..., None].astype(np.float64)
    mixed_HWC = original_HWC + mask_HW1 * (inpainted_HWC.astype(np.float64) - original_HWC)
    return np.where(mask_HW1 == 0, original_HWC, np.rint(mixed_HWC).astype(np.uint8))


def latent_mask(mask_HW: Mask, factor: int) -> Mask:
    """The mask at latent resolution (h, w): the mean of each factor × factor block.

    Raises ValueError unless both sides are multiples of the factor (8 for Stable Diffusion).
    """
    height, width = mask_HW.shape
    if height % factor or width % factor:
        raise ValueError(f"a mask's sides must be multiples of {factor}, got {width}×{height}")
    blocks = mask_HW.reshape(height // factor, factor, width // factor, factor)
    return np.asarray(blocks.mean(axis=(1, 3)), np.float32)


def change(before_HWC: Picture, after_HWC: Picture, mask_HW: Mask) -> float:
    """How much was changed under a mask, in levels of 255.

    Σ m |after − before| / Σ m, over pixels and the mean of the channels: the mean absolute
    difference, weighted by the mask.
    """
    weight = float(mask_HW.sum(dtype=np.float64))
    if weight == 0:
        raise ValueError("a mask must cover a pixel, got zeros only")
    difference_HW = np.abs(after_HWC.astype(np.float64) - before_HWC).mean(axis=2)
    return float((difference_HW * mask_HW).sum() / weight)


def is_blank(picture_HWC: Picture, mask_HW: Mask | None = None) -> bool:
    """Whether every channel is the same all over, or all over the part where the mask is ≥ ½."""
    if mask_HW is None:
        pixels_NC = picture_HWC.reshape(-1, picture_HWC.shape[2])
    else:
        pixels_NC = picture_HWC[mask_HW >= 0.5]
    spread_C = pixels_NC.max(axis=0).astype(int) - pixels_NC.min(axis=0) if len(pixels_NC) else 0
    return bool(np.all(np.asarray(spread_C) < BLANK_SPREAD))
