"""Photos become faces and pairs, in the stages themselves, on the miniature pipeline."""

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from raypipe.core.face_pairs import mask_of, noise_seed
from raypipe.core.masks import change
from raypipe.engine.stage import check_output
from raypipe.inputs.codec import decode
from raypipe.miniature.photos import photo_specs
from raypipe.miniature.scenes import render
from raypipe.models.faces.detector import load_detector
from raypipe.storage import schema
from raypipe.storage.directory import split_batches
from raypipe.studies.face_pairs.look import Look, chosen_faces, reduced, stored_photos
from raypipe.studies.face_pairs.paint import Paint
from raypipe.studies.face_pairs.run import SplitPlan
from tests.support import face_pairs
from tests.support.pictures import encoded


def looked(config):
    """What the stage makes of a folder's photos, in one batch."""
    run = face_pairs.begin(config)
    ((_, batch),) = split_batches(run.samples())
    new = Look(config)(batch.select(Look.reads))
    check_output("look", batch, new)
    for name in new.column_names:
        batch = batch.append_column(new.schema.field(name), new[name])
    return stored_photos(batch).to_pylist()


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """One good photo, and one for each way not to be used; also one that lies on its side."""
    root = tmp_path_factory.mktemp("mixed")
    specs = photo_specs(1, faceless=0) + photo_specs(1, faceless=1)
    portrait, scene = (render(spec) for spec in specs)
    small = np.full((160, 160, 3), 200, np.uint8)
    small[40:90, 40:90] = Image.fromarray(portrait).resize((50, 50))
    turned = Image.Exif()
    turned[0x0112] = 6
    large = np.asarray(Image.fromarray(portrait).resize((256, 256), Image.Resampling.BICUBIC))
    files = {
        "a-good": encoded(portrait),
        "b-scene": encoded(scene),
        "c-broken": b"nothing of the kind",
        "d-cut": encoded(portrait)[:200],
        "e-small": encoded(small),
        "f-wordless": encoded(portrait[:, ::-1]),
        "g-turned": encoded(np.ascontiguousarray(np.rot90(portrait)), exif=turned),
        "h-large": encoded(large),
    }
    for name, data in files.items():
        (root / f"{name}.png").write_bytes(data)
        if name != "f-wordless":
            (root / f"{name}.txt").write_text(f"a portrait {name}")
    return root, portrait


def test_photos_are_opened_upright_reduced_and_searched(mixed, tmp_path):
    root, portrait = mixed
    pools = {"look": {"batch_size": 16}}
    config = face_pairs.config(root, tmp_path / "run", longest=128, pools=pools, min_face=28)
    rows = {row["source"].rpartition("/")[2][0]: row for row in looked(config)}
    reasons = {name: row["reason"] for name, row in rows.items()}
    assert reasons == {
        "a": None,
        "b": "no face",
        "c": "unreadable",
        "d": "unreadable",
        "e": "small face",
        "f": "no caption",
        "g": None,
        "h": None,
    }
    for name, row in rows.items():
        assert row["status"] == (schema.QUARANTINED if reasons[name] else schema.OK)
        assert (row["image"] is None) == (reasons[name] is not None)
        named = row["source"].removeprefix(f"{root}/").removesuffix(".png")
        assert row["caption"] == (None if name == "f" else f"a portrait {named}")
    assert len({row["photo_id"] for row in rows.values()}) == 8
    assert np.array_equal(decode(rows["a"]["image"]), portrait)
    assert np.array_equal(decode(rows["g"]["image"]), portrait)
    assert rows["g"]["hash"] == rows["a"]["hash"]
    assert (rows["h"]["width"], rows["h"]["height"]) == (128, 128)
    (faces,) = load_detector(config.detector)([portrait])
    assert rows["a"]["faces"][0]["box"] == pytest.approx(faces[0].box, abs=1e-4)
    assert rows["a"]["faces"][0]["neighbours"] == faces[0].neighbours


def test_pictures_are_reduced_to_their_longest_side_and_never_enlarged():
    assert reduced(np.zeros((30, 60, 3), np.uint8), 20).shape == (10, 20, 3)
    picture = np.zeros((30, 60, 3), np.uint8)
    assert reduced(picture, 60) is picture
    assert reduced(None, 60) is None


def test_the_largest_faces_that_are_large_enough_are_painted(tmp_path):
    config = face_pairs.config(tmp_path, tmp_path / "run", faces=2, min_face=20)
    boxes = [[0, 0, 90, 90], [0, 0, 60, 19], [0, 0, 20, 40], [5, 5, 25, 25]]
    assert chosen_faces([{"box": box} for box in boxes], config) == [0, 2]


@pytest.fixture(scope="module")
def painted(tmp_path_factory):
    """A run of five photos, one of them without a face, two strengths and two seeds."""
    root = tmp_path_factory.mktemp("painted")
    photos = face_pairs.photos(root / "photos", 4)
    (photos / "0.png").write_bytes(encoded(render(photo_specs(1, faceless=1)[0])))
    (photos / "0.txt").write_text("a scene")
    config = face_pairs.config(photos, root / "run", seeds=[5, 9])
    run = face_pairs.begin(config)
    face_pairs.look(run, config)
    face_pairs.plan.assign_splits(run, config)
    face_pairs.paint(run, config)
    return run, config


def rows_of(run, folder):
    return [
        row
        for name in run.folder.names(folder)
        for row in pq.read_table(run.folder.open(f"{folder}/{name}")).to_pylist()
    ]


def test_every_face_is_painted_with_every_strength_seed_and_kind(painted):
    run, config = painted
    for name in run.folder.names("pairs"):
        table = pq.read_table(run.folder.open(f"pairs/{name}"))
        assert table.schema.remove_metadata() == schema.PAIRS
    photos = {row["photo_id"]: row for row in rows_of(run, "photos")}
    pairs = rows_of(run, "pairs")
    assert len(photos) == 5
    assert len({row["photo_id"] for row in pairs}) == 4
    assert len(pairs) == len({row["pair_id"] for row in pairs}) == 4 * 2 * 2 * 2
    split_of = {r["photo_id"]: r["split"] for r in rows_of(run, "splits")}
    for photo_id in {row["photo_id"] for row in pairs}:
        mine = [row for row in pairs if row["photo_id"] == photo_id]
        settings = {(r["kind"], r["strength"], r["seed"]) for r in mine}
        seeds = {noise_seed(photo_id, 0, seed) for seed in (5, 9)}
        assert settings == {(k, s, n) for k in config.kinds for s in (0.5, 1.0) for n in seeds}
        assert {r["split"] for r in mine} == {split_of[photo_id]}
        assert all(r["box"] == photos[photo_id]["faces"][r["face"]]["box"] for r in mine)
    for row in pairs:
        size = "small face" if _side(row["box"]) < 32 else "medium face"
        assert row["tags"] == [f"strength {row['strength']:g}", size, row["kind"]]


def _side(box):
    return ((box[2] - box[0]) * (box[3] - box[1])) ** 0.5


def test_pairs_are_equal_outside_the_mask_and_differ_inside(painted):
    run, config = painted
    photos = {row["photo_id"]: row["image"] for row in rows_of(run, "photos")}
    accepted = [row for row in rows_of(run, "pairs") if row["status"] == schema.OK]
    assert len(accepted) >= 16
    for row in accepted:
        photo = np.asarray(decode(photos[row["photo_id"]]))
        assert (row["good"] is None) == (row["kind"] == "photo")
        good = photo if row["good"] is None else np.asarray(decode(row["good"]))
        bad = np.asarray(decode(row["bad"]))
        mask = mask_of(row["box"], row["margin"], row["feather"], photo)
        assert np.array_equal(good[mask == 0], photo[mask == 0])
        assert np.array_equal(bad[mask == 0], photo[mask == 0])
        assert row["change"] == pytest.approx(change(good, bad, mask), rel=1e-5)
        assert row["change"] >= config.min_change
        if row["kind"] == "roundtrip":
            assert 0.5 < change(photo, good, mask) < 12


def test_both_kinds_of_a_face_have_the_same_bad_side(painted):
    run, _ = painted
    bad = {}
    for row in rows_of(run, "pairs"):
        key = row["photo_id"], row["strength"], row["seed"]
        assert bad.setdefault(key, row["bad"]) == row["bad"]
    assert len(set(bad.values())) == len(bad) == 16


def test_what_is_stored_was_looked_at_again(painted):
    run, _ = painted
    accepted = [r["pair_id"] for r in rows_of(run, "pairs") if r["status"] == schema.OK]
    checks = rows_of(run, "checks")
    assert [check["pair_id"] for check in checks] == accepted
    assert all(check["identical"] for check in checks)
    assert np.mean([check["redetected"] for check in checks]) >= 0.9


def test_a_pair_that_was_changed_is_found(painted, tmp_path):
    run, config = painted
    photos = face_pairs.photos(tmp_path / "photos", 1)
    config = face_pairs.config(photos, tmp_path / "run", kinds=["photo"])
    run = face_pairs.begin(config)
    face_pairs.look(run, config)
    face_pairs.plan.assign_splits(run, config)
    face_pairs.paint(run, config)
    (name,) = run.folder.names("pairs")
    rows = pq.read_table(run.folder.open(f"pairs/{name}")).to_pylist()
    accepted = next(row for row in rows if row["status"] == schema.OK)
    bad = np.array(decode(accepted["bad"]))
    bad[0, 0] ^= 1
    accepted["bad"] = encoded(bad)
    run.write_table(f"pairs/{name}", schema.PAIRS.empty_table().from_pylist(rows, schema.PAIRS))
    run.folder.delete(f"checks/{name}")
    face_pairs.paint(run, config)
    told = {row["pair_id"]: row["identical"] for row in rows_of(run, "checks")}
    assert [pair_id for pair_id, same in told.items() if not same] == [accepted["pair_id"]]


def test_a_batch_made_again_is_the_same_to_the_last_bit(painted, tmp_path):
    run, config = painted
    name = run.folder.names("pairs")[0]
    kept = pq.read_table(run.folder.open(f"pairs/{name}"))
    run.folder.delete(f"pairs/{name}")
    face_pairs.paint(run, config)
    assert pq.read_table(run.folder.open(f"pairs/{name}")).equals(kept)


def made_by(config, run):
    """What the stage makes of the first batch with a changed config."""
    _, batch = next(split_batches(SplitPlan(run.uri).samples()))
    return [row for of in Paint(config, run.uri, "x")(batch)["pairs"].to_pylist() for row in of]


@pytest.mark.parametrize(
    ("change", "reason"), [({"min_change": 200.0}, "unchanged"), ({"overlap": 1.0}, "face lost")]
)
def test_refused_pairs_are_kept_with_their_pictures(painted, change, reason):
    run, config = painted
    rows = made_by(config.model_copy(update={**change, "kinds": ("photo",)}), run)
    assert {(row["status"], row["reason"]) for row in rows} == {(schema.QUARANTINED, reason)}
    assert all(row["bad"] for row in rows)


def test_generated_photos_are_the_good_side_themselves(painted):
    run, config = painted
    rows = made_by(config.model_copy(update={"kinds": ("generated",)}), run)
    assert {(row["kind"], row["good"], row["tags"][2]) for row in rows} == {
        ("generated", None, "generated")
    }
