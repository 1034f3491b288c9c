"""jobs/evaluate.py on a real Ray."""

import json
import os
import subprocess
import sys

import pyarrow.parquet as pq
import pytest
import yaml

from raypipe.studies.evaluate.settings import Evaluate
from tests.support import ROOT, evaluate_runs, pair_runs

pytestmark = [pytest.mark.ray, pytest.mark.slow]


def run(tree, path):
    path.write_text(yaml.safe_dump(tree))
    done = subprocess.run(
        [sys.executable, "jobs/evaluate.py", str(path)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done


def test_a_run_says_what_a_local_one_would(tmp_path):
    pairs = pair_runs.write(tmp_path / "pairs", count=18)
    face = evaluate_runs.reward_files(tmp_path / "face", "face_score")
    tree = {
        "pairs": str(pairs),
        "splits": ["train", "test"],
        "metrics": [
            {"metric": "sharpness", "size": 64},
            {"metric": "face_score", "id": str(face), "boxes": "given"},
        ],
        "baseline": "good",
        "statistics": {"resamples": 199},
        "pools": {
            "read": {"cpus_per_actor": 0.25, "batch_size": 7},
            "score": {"cpus_per_actor": 0.5},
        },
        "output": str(tmp_path / "run"),
    }
    done = run(tree, tmp_path / "config.yaml")
    assert done.stdout.splitlines()[-1] == str(tmp_path / "run")
    assert len(list((tmp_path / "run" / "scores").iterdir())) == 2 * 5  # 30 pictures
    here = Evaluate.model_validate({**tree, "output": str(tmp_path / "here")})
    results, table = evaluate_runs.finish(here)
    assert pq.read_table(tmp_path / "run" / "scores.parquet").equals(table)
    assert json.loads((tmp_path / "run" / "results.json").read_text()) == results
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert manifest["counts"] == {"requested": 30, "made": 30, "quarantined": 0}
    assert "already complete" in run(tree, tmp_path / "config.yaml").stderr
