"""Signed distances and a canvas: everything the miniature world is drawn with.

Shape letters: H, W picture height and width (64), C the three colours. Lengths are pixels, the
origin is the top left corner, y points down. A signed distance is negative inside a shape.
"""

import itertools

import numpy as np

SIZE = 64
_Y_HW, _X_HW = np.mgrid[0:SIZE, 0:SIZE].astype(np.float32) + 0.5

Point = tuple[float, float]
Colour = tuple[int, int, int]


def grid() -> tuple[np.ndarray, np.ndarray]:
    """The x and y coordinates of the pixel centres, two arrays HW."""
    return _X_HW, _Y_HW


def ellipse(centre: Point, radii: Point) -> np.ndarray:
    """Distance to an axis-aligned ellipse (first order: exact on the outline)."""
    x_HW, y_HW = (_X_HW - centre[0]) / radii[0], (_Y_HW - centre[1]) / radii[1]
    k_HW = np.sqrt(x_HW**2 + y_HW**2) + 1e-6
    slope_HW = np.sqrt((x_HW / radii[0]) ** 2 + (y_HW / radii[1]) ** 2) + 1e-6
    return k_HW * (k_HW - 1) / slope_HW


def box(centre: Point, half: Point, corner: float = 0.0) -> np.ndarray:
    """Distance to a rectangle with half sides `half` and rounded corners of radius `corner`."""
    x_HW = np.abs(_X_HW - centre[0]) - half[0] + corner
    y_HW = np.abs(_Y_HW - centre[1]) - half[1] + corner
    outside_HW = np.sqrt(np.maximum(x_HW, 0) ** 2 + np.maximum(y_HW, 0) ** 2)
    return outside_HW + np.minimum(np.maximum(x_HW, y_HW), 0) - corner


def stroke(start: Point, end: Point, radius: float) -> np.ndarray:
    """Distance to a line segment drawn with a round pen of the given radius."""
    dx, dy = end[0] - start[0], end[1] - start[1]
    x_HW, y_HW = _X_HW - start[0], _Y_HW - start[1]
    along_HW = np.clip((x_HW * dx + y_HW * dy) / (dx * dx + dy * dy + 1e-9), 0, 1)
    return np.hypot(x_HW - along_HW * dx, y_HW - along_HW * dy) - radius


def bow(centre: Point, half_width: float, bend: float, radius: float) -> np.ndarray:
    """Distance to a parabola of the given half width; a positive bend is a smile."""
    xs = np.linspace(-1, 1, 7)
    points = [(centre[0] + half_width * x, centre[1] + bend * (0.5 - x * x)) for x in xs]
    lines = [stroke(a, b, radius) for a, b in itertools.pairwise(points)]
    return np.minimum.reduce(lines)


def polygon(points: list[Point]) -> np.ndarray:
    """Distance to any simple polygon: the nearest edge, negative where the parity says inside."""
    nearest_HW = np.full((SIZE, SIZE), np.inf, np.float32)
    inside_HW = np.zeros((SIZE, SIZE), bool)
    for (ax, ay), (bx, by) in zip(points, points[1:] + points[:1], strict=True):
        nearest_HW = np.minimum(nearest_HW, stroke((ax, ay), (bx, by), 0.0))
        crosses_HW = (ay > _Y_HW) != (by > _Y_HW)
        inside_HW ^= crosses_HW & ((bx - ax) * (_Y_HW - ay) / (by - ay + 1e-9) + ax > _X_HW)
    return np.where(inside_HW, -nearest_HW, nearest_HW)


class Canvas:
    """A 64×64 picture in the making: float32 HWC, 0 to 255."""

    def __init__(self, colour: Colour):
        self.pixels_HWC = np.empty((SIZE, SIZE, 3), np.float32)
        self.pixels_HWC[:] = colour

    def paint(self, distance_HW: np.ndarray, colour: Colour, alpha: float = 1.0, soft: float = 0.5):
        """Lay a colour over a shape; `soft` is half the width of its antialiased edge."""
        coverage_HW1 = alpha * np.clip(0.5 - distance_HW / (2 * soft), 0, 1)[..., None]
        self.pixels_HWC += coverage_HW1 * (np.asarray(colour, np.float32) - self.pixels_HWC)

    def shade(self, factor_HW: np.ndarray, distance_HW: np.ndarray):
        """Multiply the picture by a factor inside a shape."""
        coverage_HW = np.clip(0.5 - distance_HW, 0, 1)
        self.pixels_HWC *= (1 + coverage_HW * (factor_HW - 1))[..., None]

    def picture(self) -> np.ndarray:
        """The finished picture, uint8 HWC."""
        return np.clip(self.pixels_HWC + 0.5, 0, 255).astype(np.uint8)
