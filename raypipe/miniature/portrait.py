"""Draw a portrait: a stylised head and shoulders that a stock face detector recognises."""

import numpy as np

from .palette import CLOTHES, COLOURS, HAIR, SKIN
from .shapes import Canvas, Colour, bow, box, ellipse, grid, stroke
from .specs import Portrait


def _mix(a: Colour, b: Colour, share: float) -> Colour:
    return tuple(round(x + share * (y - x)) for x, y in zip(a, b, strict=True))


def landmarks(spec: Portrait) -> dict[str, tuple[float, float]]:
    """Where the face is, in pixels: centre, radii, eyes, nose and mouth; a function of the seed."""
    return place(np.random.default_rng([spec.seed, 1]).uniform(-1, 1, 6))


def place(jitter: np.ndarray) -> dict[str, tuple[float, float]]:
    """Landmarks for six numbers from −1 to 1: x, y, width, height, eyes apart, mouth down."""
    cx, cy = 32 + 2.0 * jitter[0], 33 + 1.2 * jitter[1]
    a, b = 11.3 + 0.8 * jitter[2], 17.0 + 0.8 * jitter[3]
    eye_x, eye_y = 5.4 + 0.3 * jitter[4], cy - 2.2
    return {
        "centre": (cx, cy),
        "radii": (a, b),
        "left_eye": (cx - eye_x, eye_y),
        "right_eye": (cx + eye_x, eye_y),
        "nose": (cx, cy + 4.1),
        "mouth": (cx, cy + 10.8 + 0.3 * jitter[5]),
    }


def _back_hair(canvas: Canvas, spec: Portrait, marks: dict, hair: Colour):
    (cx, cy), (a, b) = marks["centre"], marks["radii"]
    canvas.paint(ellipse((cx, cy - 4), (a + 2.6, b - 0.2)), hair)
    if spec.hairstyle == "long":
        canvas.paint(box((cx, cy + 6), (a + 3.4, 17), 6), hair)
    elif spec.hairstyle == "curly":
        for angle in np.linspace(-0.25, 1.25, 11) * np.pi:
            at = (cx - (a + 1.5) * np.cos(angle), cy - 3 - (b - 1) * np.sin(angle))
            canvas.paint(ellipse(at, (4.4, 4.4)), hair)
    elif spec.hairstyle == "bun":
        canvas.paint(ellipse((cx, cy - b - 5.0), (6.2, 5.6)), hair)


def _body(canvas: Canvas, spec: Portrait, marks: dict, skin: Colour):
    (cx, cy), (_, b) = marks["centre"], marks["radii"]
    clothes = CLOTHES[spec.clothes]
    canvas.paint(ellipse((cx, 66), (25, 14.5)), clothes)
    canvas.paint(ellipse((cx, cy + b + 3.5), (7.2, 4.6)), _mix(skin, (40, 20, 20), 0.25))
    canvas.paint(box((cx, cy + b - 1), (5.2, 5)), _mix(skin, (40, 20, 20), 0.25))


def _fringe(canvas: Canvas, spec: Portrait, marks: dict, hair: Colour):
    (cx, cy), (a, b) = marks["centre"], marks["radii"]
    x_HW, y_HW = grid()
    head_HW = ellipse((cx, cy - 2.5), (a + 1.2, b - 0.8))
    line = cy - 0.74 * b
    if spec.hairstyle in ("short", "bun"):
        hairline_HW = y_HW - (line + 1.2 * ((x_HW - cx) / a) ** 2 * 3)
    else:
        hairline_HW = y_HW - (line - 1.5 + 7.0 * ((x_HW - cx) / a) ** 2)
    canvas.paint(np.maximum(head_HW, hairline_HW), hair)
    canvas.paint(
        ellipse((cx - 3.5, cy - b - 0.2), (4.2, 1.2)), _mix(hair, (255, 255, 255), 0.3), 0.6, 1
    )


def _eyes(canvas: Canvas, spec: Portrait, marks: dict, skin: Colour):
    wide = 1.35 if spec.expression == "surprised" else 1.0
    lift = {"surprised": -1.3, "sad": -0.2}.get(spec.expression, 0.0)
    slant = {"sad": 1.0, "angry": -1.1}.get(spec.expression, 0.0)
    brow = _mix(HAIR[spec.hair], (25, 15, 10), 0.75)
    for side, name in ((-1, "left_eye"), (1, "right_eye")):
        x, y = marks[name]
        canvas.paint(ellipse((x, y - 0.6), (4.5, 2.0)), _mix(skin, (50, 20, 15), 0.4), 0.8, 1.5)
        canvas.paint(ellipse((x, y), (2.4, 1.25 * wide)), (210, 210, 210))
        canvas.paint(ellipse((x, y), (1.6, 1.6 * wide)), (25, 20, 25))
        thick = 0.5 + 0.12 * (spec.person == "man")
        inner = (x - side * 3.0, y - 5.0 + lift - slant)
        outer = (x + side * 3.2, y - 5.0 + lift + slant)
        canvas.paint(stroke(inner, outer, thick), brow)


def _nose_and_mouth(canvas: Canvas, spec: Portrait, marks: dict, skin: Colour):
    nx, ny = marks["nose"]
    canvas.paint(stroke((nx, ny - 6), (nx, ny - 1), 1.0), _mix(skin, (255, 255, 255), 0.35), 0.7, 1)
    canvas.paint(ellipse((nx, ny + 0.4), (2.9, 1.0)), _mix(skin, (60, 15, 10), 0.38), 0.9, 0.8)
    mx, my = marks["mouth"]
    lips = (170, 30, 50) if spec.person == "woman" else _mix(skin, (110, 20, 25), 0.75)
    if spec.expression == "surprised":
        canvas.paint(ellipse((mx, my + 0.3), (2.9, 3.2)), lips)
        canvas.paint(ellipse((mx, my + 0.3), (1.9, 2.2)), (50, 10, 15))
    elif spec.expression == "smiling":
        canvas.paint(bow((mx, my), 4.9, 3.2, 0.85), lips)
        canvas.paint(bow((mx, my - 0.5), 3.4, 1.8, 0.6), (250, 245, 240))
    elif spec.expression == "sad":
        canvas.paint(bow((mx, my + 0.4), 4.2, -3.0, 1.0), lips)
    else:
        canvas.paint(stroke((mx - 4.0, my), (mx + 4.0, my), 1.05), lips)


def draw(spec: Portrait, marks: dict | None = None) -> np.ndarray:
    """The portrait as uint8 64×64×3, with the face at `marks` in place of the seed's."""
    marks = marks or landmarks(spec)
    hair, skin = HAIR[spec.hair], SKIN[spec.skin]
    (cx, cy), (a, b) = marks["centre"], marks["radii"]
    canvas = Canvas(COLOURS[spec.background])
    _back_hair(canvas, spec, marks, hair)
    _body(canvas, spec, marks, skin)
    for side in (-1, 1):
        canvas.paint(ellipse((cx + side * a, cy), (1.8, 3.2)), _mix(skin, (60, 20, 15), 0.2))
    face_HW = ellipse((cx, cy), (a, b))
    canvas.paint(face_HW, skin)
    x_HW, _ = grid()
    canvas.shade(1 - 0.22 * ((x_HW - cx) / a) ** 2, face_HW)
    for q in (-1, 1):
        canvas.paint(
            ellipse((cx + q * 6.0, cy + 3.6), (3.5, 2.5)),
            _mix(skin, (255, 255, 255), 0.35),
            0.8,
            1.5,
        )
    canvas.paint(ellipse((cx, cy - 8.0), (7, 3)), _mix(skin, (255, 255, 255), 0.35), 0.8, 1.5)
    _eyes(canvas, spec, marks, skin)
    _nose_and_mouth(canvas, spec, marks, skin)
    _fringe(canvas, spec, marks, hair)
    return canvas.picture()
