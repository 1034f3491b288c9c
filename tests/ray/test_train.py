"""Ray Train's workers: killed in the middle, they go on to the weights of an undisturbed run."""

import os
import signal
import subprocess
import sys

import psutil
import pytest
import torch

from raypipe.storage.files import Folder
from raypipe.training import state
from raypipe.training.loop import Trainer
from tests.ray.chaos import is_called
from tests.support import ROOT
from tests.support.jobs import wait_for
from tests.support.train_toy import Toy, plan

pytestmark = [pytest.mark.ray, pytest.mark.slow]

STEPS = 60
DRIVER = """
import sys
from raypipe.config.sections import Actors
from raypipe.engine.session import Session
from raypipe.training.run import run_training
from tests.support.train_toy import SlowToy, plan

actors = Actors(min=1, max=2, cpus_per_actor=0.5)
address, uri, steps = sys.argv[1], sys.argv[2], int(sys.argv[3])
run_training(
    SlowToy, plan(steps=steps), actors, uri, best="accuracy", session=Session(address)
)
"""


def test_a_lost_worker_changes_nothing(ray_address, tmp_path):
    Trainer(Toy(), plan(steps=STEPS), Folder(str(tmp_path / "alone")), best="accuracy").run()
    run = Folder(str(tmp_path / "run"))
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER, ray_address, run.uri, str(STEPS)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_for(lambda: len(state.steps(run)) >= 2, driver)
    workers = [process for process in psutil.process_iter() if is_called(process, "RayTrainWorker")]
    assert len(workers) == 2
    workers[0].send_signal(signal.SIGKILL)
    _, err = driver.communicate(timeout=300)
    assert driver.returncode == 0, err
    assert f"step {STEPS}/{STEPS}  loss" in err
    ours, theirs = (state.read(Folder(str(tmp_path / n)), STEPS).tensors for n in ("run", "alone"))
    for name, tensor in theirs.items():
        assert torch.allclose(ours[name], tensor, rtol=0, atol=1e-4), name
    assert not (tmp_path / "run" / "ray").exists()
    assert run.read("finished.txt") == str(STEPS).encode()
