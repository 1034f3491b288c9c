"""The renderer is deterministic, and its pictures show what their specs say, by pixels."""

import dataclasses

import numpy as np
import pytest

from raypipe.miniature import judge
from raypipe.miniature.data import HELD_OUT
from raypipe.miniature.palette import COLOURS
from raypipe.miniature.portrait import landmarks
from raypipe.miniature.scenes import render, stylise
from raypipe.miniature.specs import Item, Scene, sample_portrait, sample_scene, sample_spec

COUNT = 60
PINNED = [120.49, 113.96, 107.22, 97.98]


def near(pixel, colour, tolerance=60):
    return np.abs(pixel.astype(int) - COLOURS[colour]).sum() < tolerance


def test_same_seed_same_pixels():
    for seed in range(5):
        picture = render(sample_spec(seed))
        assert picture.dtype == np.uint8
        assert picture.shape == (64, 64, 3)
        np.testing.assert_array_equal(picture, render(sample_spec(seed)))
        np.testing.assert_array_equal(stylise(picture, seed), stylise(picture, seed))


def test_pixels_are_pinned():
    """A changed renderer would no longer be what the committed weights were trained on."""
    means = [round(float(render(sample_spec(seed)).mean()), 2) for seed in range(4)]
    assert means == pytest.approx(PINNED, abs=0.02)


def test_portraits_show_background_and_hair():
    for spec in map(sample_portrait, range(HELD_OUT, HELD_OUT + COUNT)):
        picture = render(spec)
        assert judge.background(picture) == spec.background
        assert judge.hair(picture) == spec.hair


def test_detector_finds_rendered_faces_in_place():
    pytest.importorskip("skimage")
    specs = [sample_portrait(HELD_OUT + i) for i in range(COUNT)]
    found = [judge.faces(render(spec)) for spec in specs]
    assert np.mean([len(boxes) > 0 for boxes in found]) >= 0.98
    for spec, boxes in zip(specs, found, strict=True):
        x, y = landmarks(spec)["nose"]
        assert not boxes or any(
            box["c"] < 3 * x < box["c"] + box["width"]
            and box["r"] < 3 * y < box["r"] + box["height"]
            for box in boxes
        )


@pytest.mark.parametrize(
    ("relation", "first", "second"),
    [("left", (33, 17), (33, 47)), ("right", (33, 47), (33, 17)), ("above", (21, 32), (48, 32))],
)
def test_relations_place_objects(relation, first, second):
    items = (Item("ball", "red"), Item("box", "blue"))
    for seed in range(10):
        picture = render(Scene(items, "green", relation=relation, seed=seed))
        assert near(picture[first], "red"), seed
        assert near(picture[second], "blue"), seed
        assert judge.background(picture) == "green"


@pytest.mark.parametrize("shape", ["ball", "box", "cone", "star", "heart"])
def test_size_is_visible(shape):
    item = (Item(shape, "black"),)
    small, big = (
        (render(Scene(item, "white", size=size)).mean(2) < 100).sum() for size in ("small", "big")
    )
    assert big > 3 * small


def test_expression_changes_the_mouth_only_below_the_eyes():
    spec = sample_portrait(3)
    faces = [
        render(dataclasses.replace(spec, expression=name)).astype(int)
        for name in ("serious", "smiling")
    ]
    changed = np.abs(faces[0] - faces[1]).sum(2) > 30
    assert changed.any()
    assert np.argwhere(changed)[:, 0].min() > landmarks(spec)["nose"][1]


def test_style_is_visible_and_keeps_the_background():
    specs = [sample_portrait(i) for i in range(COUNT)]
    plain = [render(spec) for spec in specs]
    styled = [stylise(picture, i) for i, picture in enumerate(plain)]
    assert min(map(judge.hatching, styled)) > 2 * max(map(judge.hatching, plain))
    assert all(judge.background(p) == s.background for p, s in zip(styled, specs, strict=True))


def test_scenes_and_portraits_are_sampled_evenly():
    specs = [sample_scene(seed) for seed in range(300)]
    assert {item.shape for spec in specs for item in spec.items} == {
        *("ball", "box", "cone", "star", "heart", "ring")
    }
    assert all(item.colour != spec.background for spec in specs for item in spec.items)
