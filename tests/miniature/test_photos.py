"""Photo sets are decided by their numbers, and are read back as they were rendered."""

import io
import json

import numpy as np
import pytest
from PIL import Image

from raypipe.miniature.captions import full_caption
from raypipe.miniature.data import HELD_OUT
from raypipe.miniature.photos import PHOTOS, photo_specs, write_folder
from raypipe.miniature.scenes import render
from raypipe.miniature.specs import Portrait


def test_sets_are_nested_and_apart_from_every_other():
    specs = photo_specs(200)
    assert photo_specs(50) == specs[:50]
    assert photo_specs(50, first=50) == specs[50:100]
    assert min(spec.seed for spec in specs) == PHOTOS > HELD_OUT + 1_000_000
    assert 0.03 < np.mean([not isinstance(spec, Portrait) for spec in specs]) < 0.2
    assert all(isinstance(spec, Portrait) for spec in photo_specs(50, faceless=0))
    with pytest.raises(ValueError, match="from 0 to 1"):
        photo_specs(1, faceless=2)


def test_a_folder_holds_the_photos_and_their_captions(tmp_path):
    specs = photo_specs(12, faceless=0.5)
    write_folder(specs, tmp_path / "photos")
    lines = (tmp_path / "photos" / "metadata.jsonl").read_text().splitlines()
    for spec, line in zip(specs, map(json.loads, lines), strict=True):
        assert line["text"] == full_caption(spec)
        stored = (tmp_path / "photos" / line["file_name"]).read_bytes()
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(stored))), render(spec))
