"""A start that is refused leaves a finished run finished, and of a first start nothing: every job
whose address, port, lock or inputs are found wanting after it has claimed its directory."""

import json
import socket
from pathlib import Path

import pytest
import yaml

from tests.support import face_pairs, lora_runs, pair_runs
from tests.support.annotators import Serving
from tests.support.jobs import run_here
from tests.support.small_study import source, study

__all__ = ["source", "study"]

NOWHERE = ("--address", "127.0.0.1:1")


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def write(folder: Path, config: dict) -> Path:
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


def refused(*command) -> str:
    done = run_here(*command)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


@pytest.fixture
def pictures(tree):
    return tree({model: {"a red ball": [1, 2], "a blue box": [1, 2]} for model in ("one", "two")})


def test_a_finished_table_of_scores_survives_a_metric_that_cannot_run(pictures, tmp_path):
    config = {"images": str(pictures), "metrics": [{"metric": "sharpness"}]}
    path = write(tmp_path, config | {"output": str(tmp_path / "run")})
    done = run_here("evaluate", path, "--local")
    assert done.returncode == 0, done.stderr
    before = files(tmp_path / "run")
    more = "metrics=[{metric: sharpness}, {metric: sharpness, name: small, size: 32}]"
    assert "no Ray cluster answers at 127.0.0.1:1" in refused("evaluate", path, more, *NOWHERE)
    after = files(tmp_path / "run")
    assert {name: after[name] for name in before} == before
    assert all(name.startswith("metrics/") for name in after.keys() - before.keys())
    assert "already complete" in run_here("evaluate", path).stderr
    done = run_here("evaluate", path, more, "--local")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "manifest.json").exists()


def test_a_first_start_of_every_job_on_ray_leaves_nothing(pictures, tmp_path):
    pair_runs.write(tmp_path / "pairs", 12)
    lora_runs.write_general(tmp_path / "general")
    photos = face_pairs.photos(tmp_path / "photos", 3)
    general = {"general": str(tmp_path / "general"), "loss": {"keep": 1.0}}
    lora = lora_runs.config(tmp_path / "pairs", tmp_path / "run", **general)
    images = {"images": str(pictures), "output": str(tmp_path / "run")}
    configs = {
        "evaluate": {**images, "metrics": [{"metric": "sharpness"}]},
        "consistency": {**images, "encoder": {"id": "miniature/clip"}},
        "face_pairs": face_pairs.tree(photos, tmp_path / "run"),
        "face_lora": lora.model_dump(mode="json"),
    }
    for name, config in configs.items():
        path = write(tmp_path, config)
        assert "no Ray cluster answers at 127.0.0.1:1" in refused(name, path, *NOWHERE), name
        assert not (tmp_path / "run").exists(), name


def test_collected_answers_stay_finished_when_the_port_is_taken(study, tmp_path):
    output = tmp_path / "answers"
    Serving(study, output).stop()
    before = files(output)
    assert json.loads(before["manifest.json"])["job"] == "annotate"
    line = ("annotate", "configs/annotate/local.yaml", f"run={study}", f"output={output}")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        told = refused(*line, f"port={port}")
        assert f"must be able to listen on 127.0.0.1, port {port}" in told
        assert files(output) == before
        told = refused(*line, f"port={port}", f"output={tmp_path / 'new'}")
        assert not (tmp_path / "new").exists()


def test_collected_answers_stay_finished_when_an_older_process_has_the_lock(study, tmp_path):
    from filelock import FileLock

    output = tmp_path / "answers"
    Serving(study, output).stop()
    before = files(output)
    line = ("annotate", "configs/annotate/local.yaml", f"run={study}", f"output={output}")
    with FileLock(f"{output}/answers.sqlite.lock"):
        assert "one process collects answers at a time" in refused(*line, "port=0")
    assert files(output) == before


def test_a_second_process_that_collects_is_refused_and_takes_nothing(study, tmp_path):
    output = tmp_path / "answers"
    line = ("annotate", "configs/annotate/local.yaml", f"run={study}", f"output={output}")
    with Serving(study, output) as first:
        told = refused(*line, "port=0")
        assert "one process collects answers at a time, got another on" in told
        assert f"process {first.process.pid} of " in told
        first.kill()
    Serving(study, output).stop()  # follows at once
