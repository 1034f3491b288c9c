"""What the tests of faults compare with."""

import pytest

from tests.support import stand_in_runs


@pytest.fixture(scope="session")
def undisturbed_stand_in(tmp_path_factory):
    """The directory of a finished run that nothing happened to."""
    folder = tmp_path_factory.mktemp("undisturbed_stand_in")
    stand_in_runs.finish(stand_in_runs.start(stand_in_runs.config(folder / "run"), folder))
    return folder / "run"
