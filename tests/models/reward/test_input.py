"""Faces are cut out as FaceScore cuts them, also at the border."""

import numpy as np
import pytest
from PIL import Image

from raypipe.models.reward.input import crop_face, preprocess


@pytest.fixture(scope="module")
def picture():
    pixels = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


@pytest.mark.parametrize(
    "box",
    [
        (10.2, 5.9, 30.0, 44.7),
        (1.0, 1.5, 60.9, 40.1),  # the corner is at the picture's own
        (2.99, 2.01, 68.0, 48.99),
        (40, 20, 90.5, 60),  # upstream's slices end with the picture too
    ],
)
def test_a_face_is_what_facescores_slices_give(picture, box):
    x0, y0, x1, y1 = box
    slices = np.asarray(picture)[int(y0 - 1) : int(y1 + 1), int(x0 - 1) : int(x1 + 1)]
    assert np.array_equal(np.asarray(crop_face(picture, box)), slices)


@pytest.mark.parametrize(
    ("box", "corners"),
    [
        ((0.4, 0.2, 20.5, 30.5), (0, 0, 21, 31)),
        ((-9.5, -3, 20.5, 30.5), (0, 0, 21, 31)),
        ((-100, 10, 200, 500), (0, 9, 70, 50)),
        ((69.5, 49.5, 80, 80), (68, 48, 70, 50)),
    ],
)
def test_a_box_over_the_border_is_cut_there(picture, box, corners):
    assert np.array_equal(np.asarray(crop_face(picture, box)), np.asarray(picture.crop(corners)))


@pytest.mark.parametrize(
    "box",
    [(-20, 5, -4, 9), (80, 5, 90, 9), (5, 60, 9, 70), (30, 5, 20, 9), (float("nan"), 1, 2, 3)],
)
def test_a_box_without_a_pixel_is_refused(picture, box):
    with pytest.raises(ValueError, match="must lie in its picture of 70×50"):
        crop_face(picture, box)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK"])
def test_faces_of_every_kind_of_picture_are_cut_and_seen(picture, mode):
    face = crop_face(picture.convert(mode), (10, 10, 30, 40))
    assert (face.mode, face.size) == (mode, (22, 32))
    assert preprocess(face, 16).shape == (3, 16, 16)
