"""Damaged files that a worker meets on Ray: the driver hears which, and has them made again."""

import shutil

import pytest

from tests.support.stand_in_runs import assert_same, config, finish, start

pytestmark = [pytest.mark.ray, pytest.mark.slow]


def test_a_picture_that_a_worker_cannot_load_is_made_again(
    undisturbed_stand_in, ray_address, tmp_path
):
    """Embeddings are missing, and the pictures that they are made of have changed."""
    run = shutil.copytree(undisturbed_stand_in, tmp_path / "run")
    (run / "manifest.json").unlink()
    for file in list((run / "embeddings").iterdir())[:6]:
        batch = file.name.partition(".")[2]
        file.unlink()
        data = bytearray((run / "images" / batch).read_bytes())
        data[len(data) // 2] ^= 1
        (run / "images" / batch).write_bytes(data)
    _, err = finish(start(config(run), tmp_path, "--address", ray_address))
    told = [line for line in err.splitlines() if line.startswith("warning: ")]
    assert len([line for line in told if "it is made again (kept as damaged/images/" in line]) == 6
    assert_same(run, undisturbed_stand_in)
