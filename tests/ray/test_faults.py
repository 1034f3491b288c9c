"""Faults while the job runs on a real cluster of processes: nothing is lost, doubled or changed."""

import pytest

from tests.ray import chaos
from tests.ray.stand_in_runs import config

pytestmark = [pytest.mark.ray, pytest.mark.slow]


def test_every_kind_of_fault_in_one_run(undisturbed_stand_in):
    """`make chaos` draws many more."""
    chaos.chaos(1, 0, list(chaos.FAULTS), undisturbed_stand_in)


def test_more_pictures_than_the_object_store_holds(tmp_path):
    """A store of 80 MB and pictures of 0.5 MB in batches of 4: blocks go to disk and come back."""
    tree = config(tmp_path / "run", prompts=["one", "two"], seeds=40)
    tree["pools"]["generate"] |= {"max": 6, "cpus_per_actor": 0.25}
    ...
