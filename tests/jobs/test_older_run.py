"""A run of raypipe 0.1, from before the package had its rooms, is still this program's run.

tests/data/run_0_1 was made then: `python tests/stand_in.py CONFIG` (stages that draw small pictures
by their ids) with CONFIG below, but for its report. Its ids hold the miniature models' weights.
"""

import json
import shutil

import pytest

from tests.support import DATA
from tests.support.jobs import LOCAL, finish, start

CONFIG = {
    "models": [{"name": name, "id": f"miniature/{name}"} for name in ("sdxl", "pixart")],
    "prompts": "configs/prompts/miniature_demo.txt",
    "seeds": 3,
    "encoder": {"id": "miniature/clip"},
    "statistics": {"resamples": 199},
    "pools": {
        "generate": {"batch_size": 9, "cpus_per_actor": 0.5},
        "embed": {"cpus_per_actor": 0.5},
    },
}


@pytest.fixture
def older(tmp_path):
    return shutil.copytree(DATA / "run_0_1", tmp_path / "run")


@pytest.fixture
def run(older, tmp_path):
    """Runs the same config on it, with changes; returns (stdout, stderr)."""

    def run(**changes):
        tree = {**CONFIG, "output": str(older), **changes}
        pace = {"STAND_IN_SECONDS": "0", "STAND_IN_SIDE": "8"}
        return finish(start("tests/support/stand_in.py", tree, tmp_path, *LOCAL, **pace))

    return run


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_finished_it_is_left_alone(older, run):
    before = contents(older)
    out, err = run()
    assert out == f"{older}\n"
    assert "already complete" in err
    assert contents(older) == before


def test_half_done_it_is_finished_to_the_same_numbers(older, run):
    before = contents(older)
    for name in ("manifest.json", "results.json", "scores.parquet"):
        (older / name).unlink()
    for name in ("0000-00000001", "0000-00000006"):
        (older / "images" / f"{name}.parquet").unlink()
    (older / "embeddings" / "miniature-clip.0000-00000003.parquet").unlink()
    run()
    after = contents(older)
    for name in ("scores.parquet", "0000.parquet"):
        assert after[name] == before[name], name
    assert after.keys() >= before.keys()
    old, new = json.loads(before["results.json"]), json.loads(after["results.json"])
    assert (old["schema_version"], new["schema_version"]) == (1, 2)  # the verdict's rule changed
    assert new["models"] == old["models"]
    for was, found in zip(old["comparisons"], new["comparisons"], strict=True):
        assert found["mean_over_prompts"] == was["mean_difference"]
        assert found["mean_difference"]["value"] == pytest.approx(was["mean_difference"]["value"])
        assert found["hodges_lehmann"] == was["hodges_lehmann"]


def test_it_can_be_extended_and_what_is_there_stays(older, run):
    before = {path: path.stat().st_mtime_ns for path in (older / "images").iterdir()}
    run(seeds=4)
    after = {path: path.stat().st_mtime_ns for path in (older / "images").iterdir()}
    assert len(after) > len(before)
    assert all(after[path] == written for path, written in before.items())
