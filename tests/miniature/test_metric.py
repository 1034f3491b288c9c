"""The judge as a metric gives what the judge says, to pictures of its world and to no others."""

import numpy as np
import pytest
from PIL import Image

from raypipe.errors import UserError
from raypipe.metrics.registry import load
from raypipe.metrics.settings import FaceJudge
from raypipe.miniature import face_judge
from raypipe.miniature.data import HELD_OUT
from raypipe.miniature.scenes import render
from raypipe.miniature.specs import sample_portrait


@pytest.fixture(scope="module")
def portraits():
    return [Image.fromarray(render(sample_portrait(HELD_OUT + i))) for i in range(4)]


@pytest.fixture(scope="module")
def metric():
    return load(FaceJudge(), "cpu")


def test_it_gives_what_the_judge_says(metric, portraits):
    scores = metric(portraits, ["a prompt that is not read"] * 4)
    assert scores.dtype == np.float64
    assert scores.tolist() == [face_judge.score(np.asarray(picture)) for picture in portraits]
    assert len(set(scores)) == 4
    assert metric(portraits[::-1]).tolist() == scores.tolist()[::-1]
    assert metric([]).shape == (0,)


def test_colours_of_another_mode_are_read(metric, portraits):
    assert metric([portraits[0].convert("RGBA")]) == metric([portraits[0]])


def test_pictures_of_another_world_are_refused(metric, portraits):
    with pytest.raises(UserError, match=r"64×64, got one of 96×64$"):
        metric([portraits[0], Image.new("RGB", (96, 64))])
