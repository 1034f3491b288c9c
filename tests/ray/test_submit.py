"""`ray job submit` on a real cluster with token authentication, which cluster/local.sh starts."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.dataset as pads
import pytest
import yaml

from tests.support import ROOT

pytestmark = [
    pytest.mark.ray,
    pytest.mark.slow,
    pytest.mark.timeout(1800),  # a minute on an idle machine, ten times that on a busy one
]

N_IMAGES = 16


class Cluster:
    """One head and one worker, as cluster/local.sh makes them, and the two command lines."""

    def __init__(self, state: Path):
        self.state = state
        self._clean = {key: value for key, value in os.environ.items() if "RAY_" not in key}

    def script(self, *arguments, cwd=ROOT):
        """cluster/local.sh; returns (status, stdout and stderr)."""
        own = {"RAYPIPE_CLUSTER": str(self.state), "RAYPIPE_PYTHON": sys.executable}
        return self._run([str(ROOT / "cluster" / "local.sh"), *arguments], own, cwd)

    def ray(self, *arguments, **more):
        """The ray command line itself, with what a user would set; returns (status, output)."""
        own = {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(self.state / "token"),
            "RAY_ADDRESS": self.address(),
            **more,
        }
        return self._run([sys.executable, "-m", "ray.scripts.scripts", *arguments], own, ROOT)

    def address(self):
        """The dashboard's, from what the script told."""
        return next(
            word.removeprefix("RAY_ADDRESS=")
            for word in (self.state / "env").read_text().split()
            if word.startswith("RAY_ADDRESS=")
        )

    def _run(self, command, own, cwd):
        done = subprocess.run(
            command,
            cwd=cwd,
            env={**self._clean, **own},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=900,
        )
        return done.returncode, done.stdout


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    cluster = Cluster(tmp_path_factory.mktemp("cluster") / "state")
    status, out = cluster.script("up", "1", "2", cwd="/")
    assert status == 0, out
    yield cluster
    if (cluster.state / "env").exists():
        cluster.script("down")


def submit(cluster, folder, job, *options, seconds):
    """Submit two prompts × eight seeds, one picture a batch; the stand-in's takes `seconds`."""
    tree = {
        "models": [{"name": "sdxl", "id": "miniature/sdxl"}],
        "prompts": ["a red ball", "a portrait of a woman with dark hair"],
        "seeds": N_IMAGES // 2,
        "sampler": {"scheduler": "euler", "steps": 60, "width": 64, "height": 64},
        "encoder": {"id": "miniature/clip"},
        "pools": {
            "generate": {"cpus_per_actor": 0.75, "batch_size": 1},
            "embed": {"cpus_per_actor": 0.25},
        },
        "statistics": {"resamples": 99},
        "output": str(folder / "run"),
    }
    folder.mkdir(exist_ok=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(tree))
    command = ["env", f"STAND_IN_SECONDS={seconds}", sys.executable, job, folder / "config.yaml"]
    options = [*options, "--working-dir", ".", "--", *map(str, command)]
    return cluster.ray("job", "submit", *options)


def test_a_second_cluster_with_the_same_state_is_refused(cluster):
    status, out = cluster.script("up")
    assert status == 2
    assert "up already" in out


def test_the_cluster_has_a_head_without_cpus_and_a_worker(cluster):
    status, out = cluster.ray("list", "nodes", "--format", "json")
    assert status == 0, out
    nodes = json.loads(out[out.index("[") :])
    assert {node["state"] for node in nodes} == {"ALIVE"}
    cpus = {node["is_head_node"]: node["resources_total"].get("CPU", 0) for node in nodes}
    assert cpus == {True: 0, False: 2}


def test_the_token_is_private_and_a_wrong_one_is_refused(cluster):
    assert (cluster.state / "token").stat().st_mode & 0o077 == 0
    status, out = cluster.ray("job", "list")
    assert status == 0, out
    status, out = cluster.ray("job", "list", RAY_AUTH_TOKEN="0" * 64, RAY_AUTH_TOKEN_PATH="")
    assert status != 0
    assert "InvalidToken" in out or "authentication" in out.lower(), out


@pytest.mark.parametrize(
    "job",
    ["tests/support/stand_in.py", pytest.param("jobs/consistency.py", marks=pytest.mark.long)],
)
def test_stopped_in_the_middle_it_resumes_when_submitted_again(cluster, tmp_path, job):
    """That a resumed run equals an undisturbed one is test_faults.py's to show."""
    name = Path(job).stem
    status, out = submit(cluster, tmp_path, job, "--submission-id", name, "--no-wait", seconds=5)
    assert status == 0, out
    directory = tmp_path / "run"
    until = time.monotonic() + 900
    while len(list((directory / "images").glob("*.parquet"))) < 2:
        assert time.monotonic() < until, cluster.ray("job", "logs", name)[1]
        time.sleep(0.05)
    status, out = cluster.ray("job", "stop", name)
    assert status == 0, out
    assert "was stopped" in out
    assert "images" in cluster.ray("job", "logs", name)[1]
    made = {path: path.stat().st_mtime_ns for path in (directory / "images").glob("*.parquet")}
    assert 2 <= len(made) < N_IMAGES
    assert not (directory / "manifest.json").exists()

    status, out = submit(cluster, tmp_path, job, seconds=0)
    assert status == 0, out
    assert f"\n{directory}\n" in out
    assert re.search(r"(\d+)/\1 images", out)  # of what was left to do
    assert "succeeded" in out
    again = [path for path, written in made.items() if path.stat().st_mtime_ns != written]
    assert again == []  # what is there is not made again
    manifest = json.loads((directory / "manifest.json").read_text())
    assert manifest["counts"] == {"requested": N_IMAGES, "made": N_IMAGES, "quarantined": 0}
    samples, images, embeddings = (
        pads.dataset(directory / folder, format="parquet").to_table()["sample_id"].to_pylist()
        for folder in ("samples", "images", "embeddings")
    )
    assert sorted(images) == sorted(embeddings) == sorted(samples)


def test_a_job_gets_the_sources_and_refuses_an_output_among_them(cluster):
    job = "jobs/consistency.py configs/consistency/miniature.yaml"
    command = ["bash", "-c", f"echo sent: * .[a-z]*; python {job}"]
    status, out = cluster.script("submit", "--", *command, cwd="/")
    assert status == 1
    sent = set(next(line for line in out.splitlines() if line.startswith("sent:")).split()[1:])
    assert {"raypipe", "jobs", "configs"} <= sent
    assert not {".git", ".venv", "build", "runs"} & sent
    assert "error: the output of a submitted job must be" in out
    assert "Traceback" not in out


def test_down_leaves_nothing(cluster):
    environment = dict(
        word.split("=", 1) for word in (cluster.state / "env").read_text().split() if "=" in word
    )
    directory = environment["tmp"]
    marked = [path for path in Path("/proc").glob("[0-9]*") if knows(path, directory)]
    assert len(marked) > 4  # two raylets, their agents, and what only the head has
    status, out = cluster.script("down")
    assert status == 0, out
    assert not [path for path in marked if knows(path, directory)]
    assert not Path(directory).exists()
    assert cluster.script("status")[0] == 2


def knows(process: Path, directory: str) -> bool:
    try:
        return directory.encode() in (process / "cmdline").read_bytes()
    except OSError:
        return False
