"""The face_pairs job between its chains: splits, refusals, resuming, results, and the page."""

import json
import re
from collections import Counter
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from pydantic import ValidationError

from raypipe.engine.work import parts_without
from raypipe.errors import UserError
from raypipe.inputs.runs import columns_of
from raypipe.miniature.pair_quality import verdicts
from raypipe.report import sheet
from raypipe.storage import schema
from raypipe.storage.directory import config_hash, split_batches
from raypipe.studies.face_pairs import page as report
from raypipe.studies.face_pairs import plan as face_pairs_plan
from raypipe.studies.face_pairs import results as pair_results
from raypipe.studies.face_pairs import run as pair_run
from raypipe.studies.face_pairs.check import CHECKS_FILE, CheckPairs, stored_checks
from raypipe.studies.face_pairs.settings import FacePairs
from tests.support import face_pairs, pair_runs
from tests.support.jobs import run_here, save
from tests.support.mistakes import mistake, refusal


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Twenty photos; one of them twice, byte for byte, and once more compressed as JPEG."""
    root = face_pairs.photos(tmp_path_factory.mktemp("photos"), 20, faceless=0.1)
    first = sorted(root.glob("*.png"))[0]
    (root / "copy.png").write_bytes(first.read_bytes())
    Image.open(first).save(root / "again.jpg", quality=95)
    for name in ("copy", "again"):
        (root / f"{name}.txt").write_text("a copy")
    return root


@pytest.fixture
def looked(photos, tmp_path):
    """A run whose photos have been looked at and divided."""
    config = face_pairs.config(photos, tmp_path / "run")
    run = face_pairs.begin(config)
    face_pairs.look(run, config)
    face_pairs_plan.assign_splits(run, config)
    return run, config


def test_copies_make_pairs_once_and_stay_with_the_photo(looked):
    run, _ = looked
    rows = pair_run.SplitPlan(run.uri).samples().to_pylist()
    sources = [source.rpartition("/")[2] for source in run.samples()["source"].to_pylist()]
    by_name = dict(zip(sources, rows, strict=True))
    original = by_name[min(name for name in sources if name[0] == "2")]
    again, copy = by_name["again.jpg"], by_name["copy.png"]
    assert again["group"] == copy["group"] == original["group"]
    assert again["split"] == original["split"] is not None
    assert (copy["split"], copy["reason"]) == (None, face_pairs_plan.COPY)
    assert original["photo_id"] == copy["photo_id"] != again["photo_id"]
    statuses = columns_of(run.folder, "photos", ["status"])["status"].to_pylist()
    for row, status in zip(rows, statuses, strict=True):
        assert (row["group"] is not None) == (status == schema.OK)
        assert (row["split"] is not None) == (status == schema.OK and row["reason"] is None)


def test_the_batches_of_painting_are_those_of_looking(looked):
    run, _ = looked
    plan = pair_run.SplitPlan(run.uri)
    assert plan.samples()["batch_id"].equals(run.samples()["batch_id"])
    parts = parts_without(plan, ["pairs/{batch_id}.parquet"])
    assert sum(part.n_batches for part in parts) == 8
    run.folder.write("pairs/0000-00000003.parquet", b"")
    left = [
        batch["batch_id"][0].as_py()
        for part in parts_without(plan, ["pairs/{batch_id}.parquet"])
        for batch in part.read()
    ]
    assert left == [f"0000-{n:08d}" for n in (0, 1, 2, 4, 5, 6, 7)]


def test_splits_are_kept_from_a_known_run(looked, photos, tmp_path):
    run, config = looked
    run.finish({"job": "face_pairs", "config_hash": config_hash(config)})
    before = {r["photo_id"]: r["split"] for r in pair_run.SplitPlan(run.uri).samples().to_pylist()}
    more = tmp_path / "more"
    face_pairs.photos(more, 30)
    splits = {"train": 0.0, "validation": 0.0, "test": 1.0, "known": run.uri}
    other = face_pairs.config(more, tmp_path / "other", splits=splits)
    second = face_pairs.begin(other)
    face_pairs.look(second, other)
    face_pairs_plan.assign_splits(second, other)
    rows = pair_run.SplitPlan(second.uri).samples().to_pylist()
    kept = [row for row in rows if before.get(row["photo_id"]) is not None]
    assert len(kept) >= 15
    assert all(row["split"] == before[row["photo_id"]] for row in kept)
    new = [row for row in rows if row["photo_id"] not in before and row["split"]]
    assert {row["split"] for row in new} == {"test"}


def test_known_splits_must_be_a_finished_runs(looked):
    run, _ = looked
    with pytest.raises(UserError, match=r"splits\.known must be a finished run"):
        face_pairs_plan.known_splits(run.uri)


def test_a_photo_between_two_splits_makes_no_pairs(looked, monkeypatch):
    _, config = looked
    ids = ["new", "lone"]
    hashes = np.array([[3, 0, 0, 0], [2**40 - 1, 2**40 - 1, 0, 0]], np.uint64)
    known = {"a": "train", "b": "test"}
    near = np.array([[1, 0, 0, 0], [2, 0, 0, 0]], np.uint64)
    monkeypatch.setattr(face_pairs_plan, "known_splits", lambda uri: (known, near))
    _, splits = face_pairs_plan.divide(ids, hashes, config)
    assert splits[0] is None
    assert splits[1] in ("train", "validation", "test")


def test_a_set_without_faces_is_refused_and_nothing_is_lost(tmp_path):
    scenes = face_pairs.photos(tmp_path / "scenes", 5, faceless=1.0)
    (scenes / "x.png").write_bytes(b"broken")
    config = face_pairs.config(scenes, tmp_path / "run")
    run = face_pairs.begin(config)
    face_pairs.look(run, config)
    told = mistake(face_pairs_plan.assign_splits, run, config)
    assert told.startswith("no photo has a face to inpaint, of 6: ")
    assert "5 no face" in told
    assert "1 unreadable" in told
    assert len(columns_of(run.folder, "photos", ["source"])) == 6
    assert not run.folder.names("splits")


def test_a_run_goes_on_with_the_photos_it_was_begun_with(looked, photos):
    run, config = looked
    planned = run.samples()
    face_pairs.photos(photos, 1, first=500)
    assert face_pairs_plan.plan_photos(face_pairs.begin(config), config).equals(planned)


def test_other_weights_are_refused(looked):
    run, config = looked
    found = face_pairs_plan.identity(config)
    run.check_model(found)
    with pytest.raises(UserError, match="the weights of the model are not those"):
        run.check_model({**found, "weights": "sha256:other"})


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"strengths": [0.5, 0.0]}, "greater than 0"),
        ({"strengths": [1.01]}, "less than or equal to 1"),
        ({"strengths": [0.2]}, "strengths must leave a step of sampler.steps = 4, 0.2 does not"),
        ({"strengths": [0.5, 0.5]}, "given twice: 0.5"),
        ({"strengths": []}, "at least 1 item"),
        ({"seeds": 0}, "greater than or equal to 1"),
        ({"seeds": [1, 1]}, "given twice: 1"),
        ({"seeds": [-1]}, "greater than or equal to 0"),
        ({"kinds": ["generated", "photo"]}, "kind generated stands alone"),
        ({"storage": {"format": "jpeg"}}, "must be png or webp, got jpeg"),
        ({"splits": {"train": 0.5}}, "must sum to 1"),
        ({"sampler": {"width": 64, "height": 32}}, "must be equal, got 64×32"),
        ({"model": {"name": "m"}}, "model m needs an id"),
        ({"photos": {"folder": "a", "shards": "b"}}, "exactly one of folder, parquet, huggingface"),
        ({"photos": {}}, "got none"),
        ({"model": {"name": "m", "id": "x", "memory": {"offload": "model"}}}, "needs a GPU"),
    ],
)
def test_configs_that_cannot_be_meant_are_refused(tmp_path, change, told):
    tree = face_pairs.tree(tmp_path, tmp_path / "run") | change
    with pytest.raises(ValidationError, match=re.escape(told)):
        FacePairs.model_validate(tree)


def test_a_zoo_model_brings_its_sampling(tmp_path):
    tree = face_pairs.tree(tmp_path, tmp_path / "run", sampler={"steps": 30})
    tree["model"] = {"name": "m", "id": "zoo/sd15"}
    sampler = FacePairs.model_validate(tree).sampler_of_model
    assert (sampler.steps, sampler.guidance, sampler.width) == (30, 7.5, 512)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run with pairs, in the job's own layout, checked by the job's own stage."""
    root = pair_runs.write(tmp_path_factory.mktemp("made") / "run", 20, finished=False)
    config = face_pairs.config(root, root, strengths=[0.8], report={"faces": 3})
    run = pair_run.PairRun(str(root))
    for name in run.folder.names("pairs"):  # a refused pair in each file
        rows = pq.read_table(run.folder.open(f"pairs/{name}")).to_pylist()
        rows[1] |= {"status": schema.QUARANTINED, "reason": "face lost"}
        run.write_table(f"pairs/{name}", pa.Table.from_pylist(rows, schema.PAIRS))
    plan = pair_run.SplitPlan(run.uri)
    rows = [
        {"photo_id": row["photo_id"], "batch_id": name.removesuffix(".parquet"), "split": "train"}
        for name in run.folder.names("photos")
        for row in pq.read_table(
            run.folder.open(f"photos/{name}"), columns=["photo_id"]
        ).to_pylist()
    ]
    for number, row in enumerate(rows):
        row["group"] = max(number, 1)  # the first two are near-duplicates
    plan.add_samples(pa.Table.from_pylist(rows, schema.SPLITS), 0)
    check = CheckPairs(config, run.uri)
    for batch_id, batch in split_batches(plan.samples()):
        kept = stored_checks(check(batch))
        run.write_table(CHECKS_FILE.format(batch_id=batch_id), kept)
    return run, config


def test_results_count_every_pair(made):
    run, config = made
    results = pair_results.results(run, config)
    json.dumps(results, allow_nan=False)
    assert results["counts"] == {"photos": 20, "pairs": 18, "refused": {"face lost": 2}}
    pairs = [
        row
        for name in run.folder.names("pairs")
        for row in pq.read_table(run.folder.open(f"pairs/{name}")).to_pylist()
        if row["status"] == schema.OK
    ]
    assert results["pairs"]["by_split"] == Counter(row["split"] for row in pairs)
    assert results["pairs"]["by_kind"] == Counter(row["kind"] for row in pairs)
    assert results["pairs"]["by_strength"] == [
        {"strength": 0.8, "pairs": 18, "refused": 2, "change": 12.0}
    ]
    assert (results["pairs"]["photos"], results["pairs"]["faces"]) == (18, 18)
    assert results["photos"]["near_duplicates"] == {"groups": 1, "photos": 2}
    assert results["checks"]["identical_outside_mask"] == {"value": 1.0, "n": 18}
    assert results["checks"]["redetected"]["n"] == 18
    assert results["notes"] == []
    assert "refused: face lost 2" in pair_results.summary(results)


def test_splits_without_pairs_and_many_refusals_are_noted(made):
    _, config = made
    tally = pair_results._Tally()
    row = {"photo_id": "a", "split": "train", "face": 0, "kind": "photo", "strength": 0.8}
    row |= {"tags": ["strength 0.8", "small face"], "change": 3.0, "reason": None}
    tally.add({**row, "status": schema.OK})
    for _ in range(3):
        tally.add({**row, "status": schema.QUARANTINED, "reason": "unchanged"})
    notes = pair_results._notes(tally, config)
    assert [note.partition(":")[0] for note in notes[:2]] == [
        "there are no pairs for validation",
        "there are no pairs for test",
    ]
    assert "most of them as “unchanged” (3)" in notes[2]


def test_the_page_shows_photos_good_and_bad_faces(made):
    run, config = made
    results = pair_results.results(run, config)
    manifest = pair_results.manifest(run, config, {"weights": "sha256:x"}, results)
    page = sheet.render(report.sheet(results, run.folder, config), manifest)
    assert manifest["counts"] == results["counts"]
    assert manifest["device_seconds"].keys() == {"look", "inpaint", "check"}
    for words in ("18 pairs of 18 faces in 18 of 20 photos", "face lost", "near-duplicates"):
        assert words in page
    assert page.count("bad, 0.8") == 2 * 3  # once shown, once said
    assert page.count('src="data:image/webp;base64,') >= 3 * 3 + 2 * 2
    assert "http" not in re.sub(r"https?://www.w3.org\S*", "", page.partition("<main>")[2])


def test_the_ground_truth_judges_pairs(made):
    run, _ = made
    pairs = columns_of(run.folder, "pairs", ["status", "split"]).to_pylist()
    n = sum(pair == {"status": "ok", "split": "test"} for pair in pairs)
    found = verdicts(run.folder, "test")
    assert sum(len(right) for right in found.values()) == n > 0
    assert np.mean([one for right in found.values() for one in right]) > 0.9
    with pytest.raises(UserError, match=r"sources/0000\.parquet is missing"):
        verdicts(pair_run.PairRun(f"{run.uri}/photos").folder)


job = partial(run_here, "face_pairs")


@pytest.fixture
def write(photos, tmp_path):
    def write(**changes):
        return save(face_pairs.tree(photos, tmp_path / "run", **changes), tmp_path / "c.yaml")

    return write


def test_a_dry_run_shows_the_plan_and_leaves_no_trace(write, tmp_path):
    done = job(write(), "--dry-run")
    assert done.returncode == 0
    assert re.search("photos, up to 4 faces each, (in)?painted 2 times: ", done.stderr)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["strengths=[1.5]"], "strengths.0: Input should be less than or equal to 1, got 1.5"),
        (["photos=docs"], "no photos found: docs"),
        (["photos=nowhere"], "photo folder not found: "),
        (["model.id=miniature/pixart"], "must be of Stable Diffusion 1.5 or SDXL, got PixArt"),
        (["model.id=./tests"], "no readable model_index.json"),
        (["splits.known=docs"], "splits.known must be a finished run"),
    ],
)
def test_a_mistake_gets_one_line_and_leaves_no_trace(write, tmp_path, arguments, told):
    assert told in refusal(job(write(), *arguments))
    assert not (tmp_path / "run").exists()
