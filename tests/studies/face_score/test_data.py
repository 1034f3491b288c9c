"""The training table of Face Score, and the pair runs that it refuses."""

import io
import shutil

import numpy as np
import pyarrow as pa
from PIL import Image

from raypipe.inputs import runs
from raypipe.miniature.photos import photo_specs
from raypipe.miniature.scenes import render
from raypipe.storage import schema
from raypipe.storage.files import Folder
from raypipe.studies.face_score import data as pairs
from tests.support import pair_runs
from tests.support.mistakes import mistake


def test_every_pair_becomes_a_row_of_crops(tmp_path):
    run = pair_runs.write(tmp_path / "pairs")
    runs.check_pairs([str(run)])
    counts = pairs.prepare([str(run)], Folder(str(tmp_path / "out")), ["photo", "roundtrip"])
    assert counts == {"train": 32, "validation": 8, "test": 8}
    table = pairs.read_split(str(tmp_path / "out" / "data"), "train")
    assert table.schema == pairs.CROPS
    assert len(set(table["photo_id"].to_pylist())) == 32
    picture = render(photo_specs(1, faceless=0.0)[0])
    good, bad = (np.asarray(Image.open(io.BytesIO(table[s][0].as_py()))) for s in ("good", "bad"))
    left, top, right, bottom = 17, 13, 47, 49  # the box, grown by one pixel
    assert np.array_equal(good, picture[top:bottom, left:right])
    assert good.shape == bad.shape
    assert (good != bad).any()


def test_a_copy_of_a_batch_is_no_batch(tmp_path):
    run = pair_runs.write(tmp_path / "pairs")
    for folder in ("pairs", "photos"):
        file = run / folder / "0000-00000000.parquet"
        shutil.copy(file, file.with_name("0000-00000000 copy.parquet"))
    counts = pairs.prepare([str(run)], Folder(str(tmp_path / "out")), ["photo", "roundtrip"])
    assert counts == {"train": 32, "validation": 8, "test": 8}


def test_rows_are_read_where_they_lie(tmp_path, monkeypatch):
    monkeypatch.setattr(pairs, "SHARD", 7)
    run = pair_runs.write(tmp_path / "pairs")
    pairs.prepare([str(run)], Folder(str(tmp_path / "out")), ["photo", "roundtrip"])
    files = sorted((tmp_path / "out" / "data" / "train").iterdir())
    assert len(files) == 5
    table = pairs.read_split(str(tmp_path / "out" / "data"), "train")
    whole = pa.concat_tables([pa.ipc.open_file(file.read_bytes()).read_all() for file in files])
    assert table.equals(whole)
    assert len(table) == 32


def test_what_is_there_is_not_made_again(tmp_path):
    run, out = pair_runs.write(tmp_path / "pairs"), Folder(str(tmp_path / "out"))
    first = pairs.prepare([str(run)], out, ["photo", "roundtrip"])
    written = {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("*.arrow")}
    assert pairs.prepare([str(run)], out, ["photo", "roundtrip"]) == first
    assert written == {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("*.arrow")}


def test_what_cannot_be_trained_on_is_left_out_and_counted(tmp_path):
    one = pair_runs.write(tmp_path / "one")
    refused = pair_runs.write(tmp_path / "refused", 16, 100, status="quarantined", reason="no face")
    same = pair_runs.write(tmp_path / "same", 16, 200, good=b"", bad=None, kind="photo")
    for file in (same / "pairs").iterdir():  # good and bad are the photo
        table = pa.parquet.read_table(file).drop_columns(["bad"])
        photos = pa.parquet.read_table(same / "photos" / file.name)
        table = table.append_column("bad", photos["image"]).select(schema.PAIRS.names)
        pa.parquet.write_table(table.cast(schema.PAIRS), file)
    uris = [str(run) for run in (one, refused, same)]
    counts = pairs.prepare(uris, Folder(str(tmp_path / "out")), ["photo"])
    kinds = pairs.read_split(str(tmp_path / "out" / "data"), "train")["kind"].to_pylist()
    assert set(kinds) == {"photo"}
    assert (counts["refused"], counts["same"]) == (16, 16)
    assert counts["other kind"] == 32 - len(kinds)
    assert (
        "roundtrip" in pairs.read_split(str(tmp_path / "out" / "data"), "test")["kind"].to_pylist()
    )


def test_a_split_without_pairs_is_refused(tmp_path):
    run = pair_runs.write(tmp_path / "pairs", split="train")
    told = mistake(pairs.prepare, [str(run)], Folder(str(tmp_path / "out")), ["photo"])
    assert told == (
        "there must be pairs for validation, got none; there are: 10 other kind, 38 train"
    )


def test_a_photo_in_two_splits_is_refused(tmp_path):
    one = pair_runs.write(tmp_path / "one", 16)
    other = pair_runs.write(tmp_path / "other", 16, split="test")
    told = mistake(runs.check_pairs, [str(one), str(other)])
    assert "a photo must be in one split only, but photo000" in told
    assert told.endswith(str(other))
