"""Masks are where the box is, and pasting changes nothing else, to the last bit."""

import numpy as np
import pytest

from raypipe.core.masks import box_mask, change, grow, is_blank, latent_mask, paste

RNG = np.random.default_rng(0)


def picture(height=20, width=30):
    return RNG.integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_a_hard_mask_is_the_pixels_whose_centres_are_in_the_box():
    mask = box_mask((4.2, 3, 9.7, 12), (20, 30))
    assert mask.dtype == np.float32
    expected = np.zeros((20, 30))
    for row in range(20):
        for column in range(30):
            expected[row, column] = 4.2 <= column + 0.5 <= 9.7 and 3 <= row + 0.5 <= 12
    assert np.array_equal(mask, expected)


@pytest.mark.parametrize("feather", [0.2, 3, 40])
def test_a_feathered_mask_is_the_product_of_two_ramps(feather):
    box, margin = (8, 6, 18, 12), 0.25
    x0, y0, x1, y1 = 8 - 2.5, 6 - 1.5, 18 + 2.5, 12 + 1.5
    width = feather * (y1 - y0) if feather < 1 else feather
    mask = box_mask(box, (20, 30), margin, feather)
    for row, column in np.ndindex(20, 30):
        x, y = column + 0.5, row + 0.5
        across = max(0.0, min(1.0, (x - x0) / width, (x1 - x) / width))
        down = max(0.0, min(1.0, (y - y0) / width, (y1 - y) / width))
        assert mask[row, column] == pytest.approx(across * down, abs=1e-6)


def test_a_box_cut_by_the_border_is_masked_up_to_it():
    mask = box_mask((-10, 2, 6, 14), (20, 30), feather=3)
    assert (mask[6:10, 0] == 1).all()
    assert box_mask((-50, -50, 90, 90), (20, 30), feather=3).min() == 1


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: box_mask((5, 5, 5, 9), (20, 20)), "x0 < x1"),
        (lambda: box_mask((30, 5, 35, 9), (20, 20)), "cover a pixel"),
        (lambda: box_mask((3, 5, 9, 9), (20, 20), margin=-0.1), "margin must not be negative"),
        (lambda: box_mask((3, 5, 9, 9), (20, 20), feather=-1), "feather must not be negative"),
        (lambda: latent_mask(np.zeros((20, 30), np.float32), 8), "multiples of 8"),
        (lambda: change(picture(), picture(), np.zeros((20, 30), np.float32)), "cover a pixel"),
        (lambda: paste(picture(), picture(20, 20), np.zeros((20, 30), np.float32)), "painted"),
        (lambda: paste(picture() / 255, picture(), np.zeros((20, 30), np.float32)), "original"),
    ],
)
def test_mistakes_are_named(call, told):
    with pytest.raises(ValueError, match=told):
        call()


def test_growing_by_nothing_changes_nothing():
    assert grow((1, 2, 3, 4), 0) == (1, 2, 3, 4)


def test_pasting_is_exact_outside_and_mixes_inside():
    before, painted = picture(), picture()
    mask = box_mask((6, 5, 22, 16), (20, 30), margin=0.05, feather=4)
    after = paste(before, painted, mask)
    assert after.dtype == np.uint8
    assert np.array_equal(after[mask == 0], before[mask == 0])
    assert np.array_equal(after[mask == 1], painted[mask == 1])
    for row, column in np.argwhere((mask > 0) & (mask < 1)):
        m = float(mask[row, column])
        mixed = (1 - m) * before[row, column].astype(float) + m * painted[row, column].astype(float)
        assert np.abs(after[row, column] - mixed).max() <= 0.5 + 1e-9


def test_latent_masks_are_block_means():
    mask = RNG.random((16, 24)).astype(np.float32)
    small = latent_mask(mask, 8)
    assert small.shape == (2, 3)
    for row, column in np.ndindex(2, 3):
        block = mask[8 * row : 8 * row + 8, 8 * column : 8 * column + 8]
        assert small[row, column] == pytest.approx(block.mean(), abs=1e-6)
    assert np.array_equal(latent_mask(np.ones((16, 24), np.float32), 8), np.ones((2, 3)))


def test_change_is_the_weighted_mean_difference():
    before = np.full((10, 10, 3), 100, np.uint8)
    after = before.copy()
    after[:5] = (130, 100, 100)
    hard = np.zeros((10, 10), np.float32)
    hard[4:6] = 1
    assert change(before, after, hard) == pytest.approx(5.0)
    assert change(before, before, hard) == 0
    soft = RNG.random((10, 10)).astype(np.float32)
    assert change(before, after, soft) == pytest.approx(10 * soft[:5].sum() / soft.sum(), rel=1e-5)


def test_blank_is_judged_under_the_mask():
    shown = np.full((10, 10, 3), 7, np.uint8)
    shown[:4] = RNG.integers(0, 256, (4, 10, 3))
    mask = np.zeros((10, 10), np.float32)
    mask[5:, :] = 0.5
    assert not is_blank(shown)
    assert is_blank(shown, mask)
    shown[7, 7, 2] = 9
    assert not is_blank(shown, mask)
