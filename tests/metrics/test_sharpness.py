"""Sharpness against scipy.ndimage."""

import numpy as np
import pytest
import scipy.ndimage
from PIL import Image, ImageFilter, ImageOps

from raypipe.metrics.settings import Sharpness as Settings
from raypipe.metrics.sharpness import Sharpness, grey, variance_of_laplacian


def test_the_laplacian_is_scipys():
    values = np.random.default_rng(0).integers(0, 256, (31, 47)).astype(float)
    inside = scipy.ndimage.laplace(values)[1:-1, 1:-1]
    assert variance_of_laplacian(values) == pytest.approx(inside.var(), rel=1e-12)


def test_a_square_of_the_size_is_taken_as_it_is():
    picture = Image.fromarray(
        np.random.default_rng(1).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    )
    luma = np.asarray(picture.convert("L"), dtype=float)
    expected = scipy.ndimage.laplace(luma)[1:-1, 1:-1].var()
    assert Sharpness(Settings(size=32))([picture])[0] == pytest.approx(expected)


@pytest.mark.parametrize("size", [(64, 64), (61, 97), (97, 61), (300, 20), (9, 8)])
def test_any_picture_becomes_the_centre_square(size):
    picture = Image.fromarray(
        np.random.default_rng(2).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
    )
    found = grey(picture, 24)
    assert found.shape == (24, 24)
    outside = ImageOps.fit(picture.convert("L"), (24, 24), Image.Resampling.BICUBIC)
    assert np.abs(found - np.asarray(outside, float)).mean() < 12


def test_blur_lowers_it_and_flat_is_zero(pictures):
    score = Sharpness(Settings(size=32))
    blurred = [picture.filter(ImageFilter.GaussianBlur(2)) for picture in pictures]
    assert (score(blurred) < score(pictures)).all()
    assert score([Image.new("RGB", (50, 40), (9, 90, 200))])[0] == 0


def test_batches_change_nothing(batches_change_nothing):
    batches_change_nothing(Sharpness(Settings()), atol=0)


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK"])
def test_every_kind_of_picture_is_read(pictures, mode):
    assert np.isfinite(Sharpness(Settings())([pictures[0].convert(mode)])).all()
