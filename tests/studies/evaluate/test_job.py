"""jobs/evaluate.py as a user meets it: plans, and one line for a mistake."""

import json
from functools import partial

import pyarrow.parquet as pq
import pytest

from raypipe.config.strict import load
from raypipe.studies.evaluate.settings import Evaluate
from tests.support import evaluate_runs, pair_runs
from tests.support.jobs import run_here, save
from tests.support.mistakes import refusal

job = partial(run_here, "evaluate")


@pytest.fixture
def file(tmp_path):
    pairs = pair_runs.write(tmp_path / "pairs", count=6)
    tree = {
        "pairs": str(pairs),
        "metrics": [{"metric": "sharpness"}],
        "output": str(tmp_path / "run"),
    }
    return save(tree, tmp_path / "config.yaml")


def test_a_dry_run_says_what_would_be_done(file, tmp_path):
    done = job(file, "--dry-run")
    assert done.returncode == 0
    assert "2 pictures of good, bad, 2 of them new" in done.stderr
    assert not (tmp_path / "run").exists()


def test_a_run_without_ray_has_the_numbers_of_its_stages(file, tmp_path):
    results, table = evaluate_runs.finish(load(file, [f"output={tmp_path}/stages"], Evaluate))
    done = job(file, "--local")
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, f"{tmp_path}/run")
    assert pq.read_table(tmp_path / "run" / "scores.parquet").equals(table)
    assert json.loads((tmp_path / "run" / "results.json").read_text()) == results
    assert (tmp_path / "run" / "report.html").exists()
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert manifest["counts"] == {"requested": 2, "made": 2, "quarantined": 0}


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("metrics.0.metric=sharpnes", "unknown metric sharpnes; did you mean sharpness?"),
        ("pairs=nowhere", "pairs must be a finished run of jobs/face_pairs.py, got nowhere"),
        ("metrics=[{metric: sharpness}, {metric: sharpness}]", "given twice: sharpness"),
    ],
)
def test_a_mistake_is_one_line(file, override, told):
    assert told in refusal(job(file, override))
