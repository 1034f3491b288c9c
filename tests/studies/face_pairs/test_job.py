"""The face_pairs job as a user runs it: killed in the middle, and run again."""

import json
import os
import signal

import pyarrow.dataset as pads
import pyarrow.parquet as pq
import pytest

from raypipe.storage import schema
from tests.support import face_pairs
from tests.support.jobs import LOCAL, run_here, save, start, wait_for

pytestmark = pytest.mark.slow

COUNT = 5


def test_a_killed_run_goes_on_where_it_was(tmp_path):
    photos = face_pairs.photos(tmp_path / "photos", COUNT, faceless=0.2)
    (photos / "broken.png").write_bytes(b"nothing of the kind")
    pools = {"look": {"cpus_per_actor": 0.5, "batch_size": 3}, "inpaint": {"cpus_per_actor": 0.5}}
    killed = tmp_path / "run"
    tree = face_pairs.tree(photos, killed, pools=pools)
    process = start("jobs/face_pairs.py", tree, tmp_path, *LOCAL)
    wait_for(lambda: list((killed / "pairs").glob("*.parquet")), process)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert not (killed / "manifest.json").exists()
    assert len(list((killed / "photos").glob("*.parquet"))) == 2
    made = {p: p.stat().st_mtime_ns for p in killed.glob("p*/*.parquet")}
    again = run_here("face_pairs", save(tree, tmp_path / "again.yaml"), *LOCAL)
    assert again.stdout.splitlines()[-1] == str(killed), again.stderr
    assert all(path.stat().st_mtime_ns == then for path, then in made.items())

    results = (killed / "results.json").read_bytes()
    told = json.loads(results)
    pairs, photos_table = pq.read_table(killed / "pairs"), pq.read_table(killed / "photos")
    assert len(set(pairs["pair_id"].to_pylist())) == len(pairs)
    assert pairs.schema.remove_metadata() == schema.PAIRS
    assert photos_table.schema.remove_metadata() == schema.PHOTOS
    assert told["counts"]["photos"] == len(photos_table) == COUNT + 1
    assert told["counts"]["refused"]["unreadable"] == 1
    accepted = pairs.filter(pads.field("status") == schema.OK)
    assert told["counts"]["pairs"] == len(accepted) > 2 * COUNT
    assert told["checks"]["identical_outside_mask"] == {"value": 1.0, "n": len(accepted)}
    assert told["checks"]["redetected"]["value"] >= 0.9
    split_of = {}
    for row in pairs.select(["photo_id", "split"]).to_pylist():
        assert split_of.setdefault(row["photo_id"], row["split"]) == row["split"]
    assert not list(killed.rglob("*.partial"))
    manifest = json.loads((killed / "manifest.json").read_text())
    assert manifest["counts"] == told["counts"]
    assert manifest["device_seconds"]["inpaint"] > 0
    assert "Contact sheet" in (killed / "report.html").read_text()
