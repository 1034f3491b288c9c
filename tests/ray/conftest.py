"""A cluster for all tests of a test worker."""

import os

import pytest

from tests.ray import chaos


@pytest.fixture(scope="session")
def ray_address():
    """The address of a cluster with room for the tests' pools, for jobs' --address."""
    before = dict(os.environ)
    os.environ.update(chaos.ENVIRONMENT)  # the jobs must speak to it as it was started
    try:
        with chaos.cluster(num_cpus=4) as address:
            yield address
    finally:
        os.environ.clear()
        os.environ.update(before)
