"""A local Ray of a job's own, which is gone with the job, whatever ends it."""

import signal

import psutil
import pytest
import yaml

from raypipe.storage.files import Folder
from raypipe.training import state
from tests.console.test_leave import assert_left, start, there, wait
from tests.support import ROOT

pytestmark = [pytest.mark.ray, pytest.mark.slow]


def ray_is_starting(process) -> bool:
    """Whether the first of Ray's processes runs."""
    return any("gcs_server" in child.name() for child in psutil.Process(process.pid).children())


@pytest.mark.parametrize(
    ("number", "when"),
    [
        (signal.SIGTERM, "working"),
        (signal.SIGINT, "starting"),
        pytest.param(signal.SIGINT, "working", marks=pytest.mark.long),
        pytest.param(signal.SIGTERM, "starting", marks=pytest.mark.long),
    ],
)
def test_a_signal_ends_the_job_and_its_ray(tmp_path, number, when):
    tree = {
        "models": [{"name": "m", "id": "miniature/sdxl"}],
        "prompts": ["a red ball", "a blue box"],
        "seeds": 60,
        "sampler": {"steps": 20, "width": 64, "height": 64},
        "encoder": {"id": "miniature/clip"},
        "pools": {"generate": {"batch_size": 4}},
        "output": str(tmp_path / "run"),
    }
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(tree))
    process = start("jobs/consistency.py", config)
    moment = there(tmp_path, "run/images/*") if when == "working" else ray_is_starting
    wait(process, moment)
    children = psutil.Process(process.pid).children(recursive=True)
    assert any("gcs_server" in child.name() for child in children)
    if when == "working":
        words = [" ".join(child.cmdline()) for child in children]
        assert any("agent" in line for line in words)
    process.send_signal(number)
    assert_left(process, number)
    assert [child for child in children if alive(child)] == []


TRAINING = """
import sys
from raypipe.config.sections import Actors
from raypipe.console import leave
from raypipe.engine.session import Session
from raypipe.training.run import run_training
from tests.support.train_toy import SlowToy, plan

actors = Actors(min=1, max=1, cpus_per_actor=0.5)
leave.run(
    lambda: run_training(
        SlowToy, plan(steps=5000), actors, sys.argv[1], best="accuracy", session=Session()
    )
)
"""


def test_ctrl_c_ends_a_training_that_ray_train_would_end_in_its_own_way(tmp_path):
    process = start("-c", TRAINING, tmp_path / "run", PYTHONPATH=str(ROOT))
    wait(process, lambda _: len(state.steps(Folder(str(tmp_path / "run")))) >= 1)
    children = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGINT)
    assert_left(process, signal.SIGINT)
    assert [child for child in children if alive(child)] == []


def alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
