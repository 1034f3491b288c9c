"""Thumbnails, and which prompts are shown with their pictures."""

import io

import numpy as np
import pytest
from PIL import Image

from raypipe.report.thumbnail import make_thumbnail
from raypipe.studies.consistency import pictures
from raypipe.studies.consistency.pictures import choose
from raypipe.studies.consistency.results import build_results
from tests.support.pictures import encoded


@pytest.mark.parametrize(
    ("mode", "kind"), [("RGB", "PNG"), ("RGBA", "PNG"), ("L", "PNG"), ("RGB", "JPEG"), ("P", "PNG")]
)
def test_a_thumbnail_is_small_and_keeps_its_shape(mode, kind):
    data = encoded(Image.effect_noise((800, 400), 50).convert(mode), kind)
    with Image.open(io.BytesIO(make_thumbnail(data, 160))) as small:
        assert (small.format, small.size) == ("WEBP", (160, 80))


def test_a_thumbnail_is_never_enlarged():
    with Image.open(io.BytesIO(make_thumbnail(encoded(Image.new("RGB", (64, 64))), 160))) as small:
        assert small.size == (64, 64)


def test_the_ends_are_shown_first_and_in_order(small):
    results = build_results(small.scores, **small.evidence)
    rows = results["comparisons"][0]["prompts"]
    shown = choose(results, small.scores, small.thumbnails, 4)
    expected = [row["prompt_id"] for row in [*rows[:2], *rows[-2:]]]
    assert [prompt["id"] for prompt in shown["prompts"]] == expected
    assert (shown["n"], shown["cut"]) == (14, False)


def test_only_what_is_shown_is_read(small):
    results = build_results(small.scores, **small.evidence)
    small.calls.clear()
    choose(results, small.scores, small.thumbnails, 3)
    assert len(small.calls) == 3 * 2
    small.calls.clear()
    assert choose(results, small.scores, small.thumbnails, 0)["prompts"] == []
    assert small.calls == []


def test_every_comparison_has_its_ends(world):
    run = world({"a": 0.9, "b": 0.5, "c": 0.1}, [f"p{i}" for i in range(12)], 3)
    results = build_results(run.scores, **run.evidence)
    shown = {p["id"] for p in choose(results, run.scores, run.thumbnails, 6)["prompts"]}
    assert {item["prompts"][0]["prompt_id"] for item in results["comparisons"]} <= shown


def test_without_a_comparison_scores_decide(world):
    run = world({"only": 0.5}, [f"p{i}" for i in range(5)], 3)
    results = build_results(run.scores, **run.evidence)
    shown = choose(results, run.scores, run.thumbnails, 4)["prompts"]
    order = np.sort(run.scores["scs"].to_numpy())[::-1]
    assert [p["order"][0] for p in shown] == pytest.approx(order[[0, 1, 3, 4]])


def test_pictures_stop_before_the_page_is_too_large(small, monkeypatch):
    results = build_results(small.scores, **small.evidence)
    monkeypatch.setattr(pictures, "MAX_BYTES", 1000)
    shown = choose(results, small.scores, small.thumbnails, 10)
    assert len(shown["prompts"]) == 1
    assert shown["cut"]
