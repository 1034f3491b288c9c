"""Render the miniature world: a spec becomes 64×64 RGB pixels, always the same ones."""

import numpy as np

from . import portrait
from .palette import COLOURS
from .shapes import SIZE, Canvas, ellipse, grid, polygon
from .specs import Item, Portrait, Scene, Spec


def _star(x: float, y: float, r: float) -> list[tuple[float, float]]:
    angles = -np.pi / 2 + np.arange(10) * np.pi / 5
    radii = np.where(np.arange(10) % 2 == 0, 1.15 * r, 0.52 * r)
    return [(x + q * np.cos(t), y + q * np.sin(t)) for q, t in zip(radii, angles, strict=True)]


def _heart(x: float, y: float, r: float) -> list[tuple[float, float]]:
    t = np.linspace(0, 2 * np.pi, 20, endpoint=False)
    across = 16 * np.sin(t) ** 3
    up = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
    return list(zip(x + r * across / 16, y - r * (up + 2) / 15, strict=True))


def _outline(item: Item, x: float, y: float, r: float) -> np.ndarray:
    """Signed distance to an object of half height r around (x, y)."""
    if item.shape == "ball":
        return ellipse((x, y), (r, r))
    if item.shape == "ring":
        return np.abs(ellipse((x, y), (0.76 * r, 0.76 * r))) - 0.26 * r
    if item.shape == "box":
        s = 0.92 * r
        return polygon([(x - s, y - s), (x + s, y - s), (x + s, y + s), (x - s, y + s)])
    if item.shape == "cone":
        return polygon([(x, y - r), (x + 0.95 * r, y + r), (x - 0.95 * r, y + r)])
    return polygon(_star(x, y, r) if item.shape == "star" else _heart(x, y, r))


def _places(spec: Scene) -> list[tuple[float, float, float]]:
    """Centre and half height of every object, in pixels."""
    jitter = np.random.default_rng([spec.seed, 1]).uniform(-1, 1, 4)
    if len(spec.items) == 1:
        r = {"small": 9.0, "big": 19.0}[spec.size] + jitter[2]
        reach = 5.0 if spec.size == "small" else 3.0
        return [(32 + reach * jitter[0], 32 + reach * jitter[1], r)]
    r = 11.5 + jitter[2]
    dx, dy = {"left": (-15, 0), "right": (15, 0), "above": (0, -r - 2)}[spec.relation]
    x, y = 32 + 1.5 * jitter[0], 33 + 2 * jitter[1]
    down = 2 if spec.relation == "above" else 0
    return [(x + dx, y + dy + down, r), (x - dx, y - dy + down, r)]


def _draw_scene(spec: Scene) -> np.ndarray:
    canvas = Canvas(COLOURS[spec.background])
    x_HW, y_HW = grid()
    for item, (x, y, r) in zip(spec.items, _places(spec), strict=True):
        outline_HW = _outline(item, x, y, r)
        canvas.paint(outline_HW, COLOURS[item.colour])
        canvas.shade(
            1 - 0.22 * (x_HW - x + y_HW - y) / r, np.maximum(outline_HW, x - x_HW + y - y_HW)
        )
    return canvas.picture()


def render(spec: Spec) -> np.ndarray:
    """The picture of a spec, uint8 64×64×3."""
    return portrait.draw(spec) if isinstance(spec, Portrait) else _draw_scene(spec)


def stylise(picture_HWC: np.ndarray, seed: int = 0) -> np.ndarray:
    """The picture in the style "tok": paler, in diagonal brush strokes, uint8 64×64×3.

    Every stroke is one band of pixels across the diagonal, shifted along itself by a few pixels
    and lightened or darkened, on warm paper: objects and faces stay recognisable.
    """
    rng = np.random.default_rng([seed, 5])
    x_HW, y_HW = grid()
    wave_HW = (x_HW + y_HW) / 4.0 + 0.35 * np.sin((x_HW - y_HW) / 7.0 + rng.uniform(0, 6.28))
    ridge_HW = np.cos(2 * np.pi * wave_HW / 1.5)
    shift_HW = np.rint(0.9 * np.sin(np.floor(wave_HW / 1.5 + 0.25) * 2.4 + rng.uniform(0, 6.28)))
    column_HW = np.clip(x_HW - 0.5 + shift_HW, 0, SIZE - 1).astype(int)
    row_HW = np.clip(y_HW - 0.5 - shift_HW, 0, SIZE - 1).astype(int)
    paper_C = np.array([250, 240, 215], np.float32)
    strokes_HWC = picture_HWC[row_HW, column_HW].astype(np.float32)
    strokes_HWC = strokes_HWC + 0.22 * (paper_C - strokes_HWC) + 24 * ridge_HW[..., None]
    return np.clip(strokes_HWC + 0.5, 0, 255).astype(np.uint8)
