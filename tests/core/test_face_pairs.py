"""What makes a pair of faces one that will do."""

import numpy as np
import pytest

from raypipe.core.face_pairs import Side, judge, mask_of, noise_seed, size_class
from raypipe.core.masks import box_mask

MASK = box_mask((4, 4, 12, 12), (16, 16), 0.0, 0.0)


def side(level: int | None, has_face: bool = True, noise: int = 20) -> Side:
    if level is None:
        return Side(None, None, "nan", False)
    pixels = np.full((16, 16, 3), level, np.uint8)
    pixels[6, 6] += noise
    return Side(pixels, b"", None, has_face)


@pytest.mark.parametrize(
    ("good", "bad", "reason"),
    [
        (side(100), side(110), None),
        (side(100), side(None), "nan"),
        (side(None), side(100), "nan"),
        (side(100), side(100), "unchanged"),
        (side(100), side(101), "unchanged"),
        (side(100), side(110, noise=0), "blank"),
        (side(100), side(110, has_face=False), "face lost"),
        (side(100, has_face=False), side(110), "good face lost"),
    ],
)
def test_a_pair_is_refused_for_one_reason(good, bad, reason):
    change, told = judge(good, bad, MASK, 2.0)
    assert told == reason
    if reason is None:
        assert change == 10.0


def test_noise_is_shared_by_no_two_faces_and_fits_a_generator():
    seeds = [noise_seed(photo, face, seed) for photo in "abc" for face in (0, 1) for seed in (0, 1)]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert noise_seed("a", 0, 0) == noise_seed("a", 0, 0) == seeds[0]


def test_faces_have_size_classes():
    boxes = [[0, 0, side, side] for side in (20, 40, 200)]
    assert [size_class(box) for box in boxes] == ["small face", "medium face", "large face"]


def test_a_mask_is_the_same_from_the_table_as_from_the_config():
    picture = np.zeros((40, 40, 3), np.uint8)
    box = [float(np.float32(value)) for value in (3.3, 5.1, 27.9, 30.2)]
    stored = [float(np.float32(value)) for value in (0.1, 0.3)]
    assert np.array_equal(mask_of(box, 0.1, 0.3, picture), mask_of(box, *stored, picture))
