"""jobs/evaluate.py as a user meets it: plans, and one line for a mistake."""

import pytest
import yaml

from raypipe.config.strict import load
from raypipe.studies.evaluate.settings import Evaluate
from tests.support import evaluate_runs, pair_runs
from tests.support.jobs import Done, run_here


def job(*arguments) -> Done:
    return run_here("evaluate", *arguments)


@pytest.fixture
def file(tmp_path):
    pairs = pair_runs.write(tmp_path / "pairs", count=6)
    tree = {
        "pairs": str(pairs),
        "metrics": [{"metric": "sharpness"}],
        "output": str(tmp_path / "run"),
    }
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(tree))
    return path


def test_a_dry_run_says_what_would_be_done(file, tmp_path):
    done = job(file, "--dry-run")
    assert done.returncode == 0
    assert "2 pictures of good, bad, 2 of them new" in done.stderr
    assert not (tmp_path / "run").exists()


def test_a_finished_run_returns_at_once(file, tmp_path):
    evaluate_runs.finish(load(file, [], Evaluate))
    done = job(file)
    assert (done.returncode, done.stdout) == (0, f"{tmp_path}/run\n")


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("metrics.0.metric=sharpnes", "unknown metric sharpnes; did you mean sharpness?"),
        ("pairs=nowhere", "pairs must be a finished run of jobs/face_pairs.py, got nowhere"),
        ("metrics=[{metric: image_reward, id: /nowhere}]", "no weights found for weights of"),
        ("metrics=[{metric: sharpness}, {metric: sharpness}]", "given twice: sharpness"),
        ("baseline=worse", "baseline must be a model of the images, got worse"),
    ],
)
def test_a_mistake_is_one_line(file, override, told):
    done = job(file, override)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert told in line
