"""The region that a model works on holds the mask, and stays in the picture."""

import numpy as np
import pytest

from raypipe.core.regions import crop_for


def test_regions_hold_the_box_and_are_square_where_that_is_possible():
    rng = np.random.default_rng(0)
    for _ in range(2000):
        height, width = rng.integers(8, 400, 2).tolist()
        x0, y0 = rng.uniform(-10, width - 1), rng.uniform(-10, height - 1)
        box = (x0, y0, max(x0, 0) + rng.uniform(1, width), max(y0, 0) + rng.uniform(1, height))
        resolution = int(rng.choice([32, 64, 512]))
        left, top, right, bottom = crop_for(box, (height, width), resolution)
        assert 0 <= left < right <= width
        assert 0 <= top < bottom <= height
        assert left <= max(box[0], 0)
        assert top <= max(box[1], 0)
        assert right >= min(box[2], width)
        assert bottom >= min(box[3], height)
        across, down = min(box[2], width) - max(box[0], 0), min(box[3], height) - max(box[1], 0)
        if max(across, down) + 2 <= min(height, width):
            assert right - left == bottom - top


def test_the_side_is_the_context_but_no_less_than_the_model_sees():
    assert crop_for((90, 90, 110, 110), (200, 200), 16, context=2) == (80, 80, 120, 120)
    assert crop_for((90, 90, 110, 110), (200, 200), 64, context=2) == (68, 68, 132, 132)
    assert crop_for((90, 90, 110, 110), (200, 200), 64, magnify=2) == (80, 80, 120, 120)
    assert crop_for((0, 0, 20, 20), (200, 200), 64) == (0, 0, 64, 64)
    assert crop_for((20, 20, 40, 50), (64, 64), 512) == (0, 0, 64, 64)
    assert crop_for((5, 10, 45, 90), (100, 50), 16) == (0, 10, 50, 90)


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: crop_for((60, 5, 70, 9), (50, 50), 16), "must lie in"),
        (lambda: crop_for((5, 5, 5, 9), (50, 50), 16), "must lie in"),
        (lambda: crop_for((5, 5, 9, 9), (50, 50), 16, context=0.5), "at least 1"),
    ],
)
def test_mistakes_are_named(call, told):
    with pytest.raises(ValueError, match=told):
        call()
