"""The main job with everything in a bucket, over connections that break; and on a full disk."""

import json
import os
import signal
import subprocess

import pytest

from raypipe.storage.files import Folder
from tests.support import s3
from tests.support.jobs import LOCAL, raypipe, run_here, save, wait_for
from tests.support.stand_in_runs import PROMPTS, SEEDS, assert_same, config, finish, start

pytestmark = pytest.mark.slow


def test_a_run_in_a_bucket_over_a_bad_line_is_the_run_on_a_disk(
    undisturbed_stand_in, tmp_path, monkeypatch
):
    with s3.server() as port:
        s3.client(port).create_bucket(Bucket="bucket")
        proxy = s3.Proxy(port)
        proxy.every = 25
        s3.use(monkeypatch, proxy.port)
        Folder("s3://bucket").write("prompts.txt", "\n".join(PROMPTS).encode())
        tree = config("s3://bucket/run", prompts="s3://bucket/prompts.txt")
        process = start(tree, tmp_path, *LOCAL)
        run = Folder("s3://bucket/run")
        wait_for(lambda: len(run.names("images")) >= 8, process, pause=0.1)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        out, _ = finish(start(tree, tmp_path, *LOCAL))
        assert out.splitlines()[-1] == "s3://bucket/run"
        assert proxy.cuts > 5
        proxy.every = None  # what follows is read without raypipe, which alone tries again
        assert_same("s3://bucket/run", undisturbed_stand_in)
        assert json.loads(run.read("manifest.json"))["counts"]["made"] == 2 * len(PROMPTS) * SEEDS
        again = run_here("consistency", save(tree, tmp_path / "again.yaml"))
        assert "already complete: s3://bucket/run" in again.stderr
        assert raypipe("check", "s3://bucket/run").returncode == 0
        name = f"images/{run.names('images')[3]}"
        run.write(name, run.read(name)[:-100])
        told = raypipe("check", "s3://bucket/run", "--mend")
        assert (told.returncode, told.stdout.count("\n")) == (1, 1)
        assert f"s3://bucket/run/{name} must be a whole Parquet file" in told.stdout
        finish(start(tree, tmp_path, *LOCAL))
        assert_same("s3://bucket/run", undisturbed_stand_in)


def test_a_store_that_goes_for_good_is_one_line(tmp_path, monkeypatch):
    """It is asked for some seconds, once: nobody who cleans up waits as long again."""
    with s3.server() as port:
        s3.client(port).create_bucket(Bucket="gone")
        s3.use(monkeypatch, port)
        run = Folder("s3://gone/run")
        process = start(config("s3://gone/run"), tmp_path, *LOCAL, STAND_IN_SECONDS="0.2")
        wait_for(lambda: len(run.names("images")) >= 4, process, pause=0.1)
    _, err = finish(process, status=2)
    *others, last = err.splitlines()
    assert last.startswith("error: the storage does not answer: s3://gone/run")
    assert not [line for line in others if not line.startswith(("generate", "embed"))]


def test_a_disk_that_becomes_read_only_is_one_line(small_disk, tmp_path):
    run = small_disk / "run"
    subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
    process = start(config(run), tmp_path, *LOCAL, STAND_IN_SECONDS="0.2")
    wait_for(lambda: any((run / "images").glob("*.parquet")), process)
    remount = ["mount", "-o", "remount,ro", str(small_disk)]
    while subprocess.run(remount, capture_output=True, check=False).returncode:
        assert process.poll() is None, process.stderr.read()  # busy: it writes just now
    _, err = finish(process, status=2)
    *others, last = err.splitlines()
    assert last.startswith("error: ")
    assert "Read-only file system" in last
    assert str(run) in last
    assert not [line for line in others if not line.startswith(("generate", "embed"))]


def test_a_full_disk_stops_the_run_which_goes_on_when_there_is_room(
    undisturbed_stand_in, small_disk, tmp_path
):
    run = small_disk / "run"
    _, err = finish(start(config(run), tmp_path, *LOCAL), status=2)
    assert err.splitlines()[-1] == (
        f"error: the disk of {run} is full: free some space, and the same command goes on"
    )
    made = {p: p.stat().st_mtime_ns for p in (run / "images").glob("*.parquet")}
    assert made
    subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
    finish(start(config(run), tmp_path, *LOCAL))
    assert all(path.stat().st_mtime_ns == then for path, then in made.items())
    assert_same(run, undisturbed_stand_in)
