"""jobs/evaluate.py on a real Ray; studies/evaluate/test_job.py has a whole run without one."""

import json

import pyarrow.parquet as pq
import pytest

from raypipe.studies.evaluate.settings import Evaluate
from tests.support import evaluate_runs, jobs, pair_runs

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.long]


def run(tree, folder, *arguments):
    return jobs.finish(jobs.start("jobs/evaluate.py", tree, folder, *arguments))


def test_a_run_says_what_a_local_one_would(ray_address, tmp_path):
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
    out, _ = run(tree, tmp_path, "--address", ray_address)
    assert out.splitlines()[-1] == str(tmp_path / "run")
    assert len(list((tmp_path / "run" / "scores").iterdir())) == 2 * 5  # 30 pictures
    here = Evaluate.model_validate({**tree, "output": str(tmp_path / "here")})
    results, table = evaluate_runs.finish(here)
    assert pq.read_table(tmp_path / "run" / "scores.parquet").equals(table)
    assert json.loads((tmp_path / "run" / "results.json").read_text()) == results
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert manifest["counts"] == {"requested": 30, "made": 30, "quarantined": 0}
