"""The judge of miniature faces ranks whole ones above broken ones, also behind the VAE."""

from functools import cache
from itertools import cycle

import diffusers
import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter, map_coordinates

from raypipe.miniature.data import HELD_OUT
from raypipe.miniature.face_judge import score
from raypipe.miniature.portrait import landmarks
from raypipe.miniature.scenes import render
from raypipe.miniature.specs import sample_portrait, sample_scene
from raypipe.weights.locate import miniature_path

COUNT = 8
PORTRAITS = [sample_portrait(HELD_OUT + i) for i in range(40)]


def warped_eyes(picture, marks, rng):
    """Each eye pulled 1½ to 3 pixels aside, and its surroundings with it."""
    y, x = np.mgrid[:64, :64].astype(float)
    for name in ("left_eye", "right_eye"):
        pull = np.exp(-((x - marks[name][0]) ** 2 + (y - marks[name][1]) ** 2) / 18)
        dx, dy = rng.uniform(1.5, 3, 2) * rng.choice([-1, 1], 2)
        x, y = x + pull * dx, y + pull * dy
    channels = [
        map_coordinates(c.astype(float), [y, x], order=1) for c in np.moveaxis(picture, 2, 0)
    ]
    return np.stack(channels, -1).round().astype(np.uint8)


def shifted_mouth(picture, marks, rng):
    """The mouth three pixels to one side."""
    x, y = (round(value) for value in marks["mouth"])
    to = x + rng.choice([-3, 3])
    broken = picture.copy()
    broken[y - 4 : y + 5, to - 6 : to + 7] = picture[y - 4 : y + 5, x - 6 : x + 7]
    return broken


def shuffled_patches(picture, marks, rng):
    """Nine patches of the face in another order, six or more of them moved."""
    x, y = (round(value) for value in marks["centre"])
    corners = [(y + dy, x + dx) for dy in (-8, -2, 4) for dx in (-8, -2, 4)]
    order = np.arange(9)
    while (order == np.arange(9)).sum() > 3:
        order = rng.permutation(9)
    broken = picture.copy()
    for (row, column), source in zip(corners, order, strict=True):
        r, c = corners[source]
        broken[row : row + 6, column : column + 6] = picture[r : r + 6, c : c + 6]
    return broken


def blurred(picture, marks, rng):
    return gaussian_filter(picture.astype(float), (1.5, 1.5, 0)).round().astype(np.uint8)


@pytest.fixture(scope="module")
def through_the_vae():
    vae = diffusers.AutoencoderKL.from_pretrained(miniature_path("sdxl") / "vae")

    def roundtrip(pictures):
        x_BCHW = torch.tensor(np.stack(pictures)).float().permute(0, 3, 1, 2) / 127.5 - 1
        with torch.no_grad():
            y_BCHW = vae.decode(vae.encode(x_BCHW).latent_dist.mean).sample.clamp(-1, 1)
        return ((y_BCHW + 1) * 127.5).round().permute(0, 2, 3, 1).numpy().astype(np.uint8)

    return roundtrip


@pytest.fixture(scope="module")
def whole():
    return [render(spec) for spec in PORTRAITS]


@cache
def scored(index):
    """The score of a whole portrait."""
    return score(render(PORTRAITS[index]))


@pytest.fixture(scope="module")
def plain():
    return np.array([scored(i) for i in range(COUNT)])


HARMS = (warped_eyes, shifted_mouth, shuffled_patches, blurred)


@pytest.mark.parametrize(
    ("harms", "count"),
    [
        pytest.param(HARMS, COUNT, id="in turn"),
        *(pytest.param((h,), 40, marks=pytest.mark.long, id=h.__name__) for h in HARMS),
    ],
)
def test_a_broken_face_is_worse(harms, count, whole, through_the_vae):
    """Each picture is broken in one way; the long form breaks all of them in each."""
    rng, turns = np.random.default_rng(0), cycle(harms)
    pictures = whole[:count]
    marks = [landmarks(spec) for spec in PORTRAITS]
    broken = [next(turns)(picture, m, rng) for picture, m in zip(pictures, marks, strict=False)]
    plain = np.array([scored(i) for i in range(count)])
    assert np.mean([score(p) for p in broken] < plain) >= 0.95
    decoded = [score(p) for p in through_the_vae(pictures)]
    assert np.mean([score(p) for p in through_the_vae(broken)] < np.array(decoded)) >= 0.9


def test_renders_are_explained_whatever_their_colours_are_made(whole, plain):
    assert plain.min() > -9
    assert plain.max() <= 0
    for picture, before in zip(whole[:6], plain, strict=False):
        tinted = (picture * [0.95, 1.0, 0.9] + [4, 0, 6]).round().astype(np.uint8)
        assert abs(score(tinted) - before) < 1.5


def test_what_is_no_face_is_worse_than_any_face(plain):
    none = [score(render(sample_scene(HELD_OUT + i))) for i in range(5)]
    assert np.mean(none < plain.min()) >= 0.8
