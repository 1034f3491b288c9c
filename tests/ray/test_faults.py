"""Faults while the job runs on a real cluster of processes: nothing is lost, doubled or changed."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile

import psutil
import pytest
import yaml

from tests.ray import chaos
from tests.support import ROOT, free_port, listens, stand_in
from tests.support.jobs import wait_for
from tests.support.stand_in_runs import assert_same, config, finish, start, tables

pytestmark = [pytest.mark.ray, pytest.mark.slow]


@pytest.mark.parametrize(
    "faults",
    [
        ["node"],
        pytest.param(["actor", "slow", "node", "driver", "head"], marks=pytest.mark.long),
        pytest.param(["second", "store", "second"], marks=pytest.mark.long),
    ],
)
def test_what_is_lost_in_the_middle_is_made_again(undisturbed_stand_in, faults):
    """`make chaos` draws many more; without Ray a driver is lost in storage/test_runs.py."""
    chaos.chaos(1, len(faults), faults, undisturbed_stand_in if len(faults) == 1 else None)


@pytest.mark.long  # engine/test_work.py shows that little of the plan is under way at a time
def test_more_pictures_than_the_object_store_holds(tmp_path, monkeypatch):
    """80 MB of store for 120 MB of pictures, and an encoder slower than the generators."""
    for key, value in chaos.ENVIRONMENT.items():
        monkeypatch.setenv(key, value)
    monkeypatch.setenv("STAND_IN_EMBED_SECONDS", "0.25")
    monkeypatch.setenv("STAND_IN_RECORD_S", "1")
    tree = config(tmp_path / "run", prompts=[f"p{i}" for i in range(6)], seeds=20)
    tree["pools"]["generate"] |= {"min": 3, "cpus_per_actor": 0.5}
    with chaos.cluster(num_cpus=3, object_store_memory=80 * 2**20) as address:
        job = start(tree, tmp_path, "--address", address, STAND_IN_SIDE="400")
        finish(job)
    images = tables(tmp_path / "run")["images"]
    assert len(images) == 2 * 6 * 20
    assert sum(map(len, images["image"].to_pylist())) > 110_000_000
    generator = stand_in.SleepingGenerator(0, 400, None)
    for row in images.slice(0, 20).to_pylist():
        assert row["image"] == generator._picture(row["sample_id"]).data
    lines = (tmp_path / "run" / "metrics" / "0000.jsonl").read_text().splitlines()
    assert 0 < max(json.loads(line)["object_store_mib"] for line in lines) <= 80


@pytest.mark.long  # engine/test_cluster.py has the limits of an autoscaler without one
def test_nodes_come_when_there_is_work_and_go_when_there_is_none(undisturbed_stand_in, tmp_path):
    """On Ray's fake node provider, which starts real node processes; from none to two and back."""
    port = free_port()
    short = tempfile.mkdtemp(prefix="ray")  # its sockets' paths must be short
    autoscaler = tmp_path / "autoscaler.yaml"
    autoscaler.write_text(yaml.safe_dump(_fake_cluster(port)))
    environment = {**os.environ, **chaos.ENVIRONMENT, "RAY_FAKE_CLUSTER": "1"}
    environment |= {"AUTOSCALER_UPDATE_INTERVAL_S": "1"}
    head = [
        *(sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block"),
        *(f"--port={port}", f"--autoscaling-config={autoscaler}", "--num-cpus=0"),
        *("--include-dashboard=false", "--disable-usage-stats", f"--temp-dir={short}"),
    ]
    process = subprocess.Popen(
        head, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        wait_for(lambda: listens(port), seconds=90)
        tree = config(tmp_path / "run")
        tree["pools"]["generate"] |= {"min": 1, "max": 2}
        address = f"127.0.0.1:{port}"
        pace = {**chaos.ENVIRONMENT, "STAND_IN_SECONDS": "0.5"}
        job = start(tree, tmp_path, "--address", address, **pace)
        wait_for(lambda: _raylets(process) >= 3 or job.poll() is not None, seconds=240, pause=0.5)
        most = _raylets(process)
        _, err = finish(job)
        assert most == 3, err  # the head and two workers
        assert_same(tmp_path / "run", undisturbed_stand_in)
        wait_for(lambda: _raylets(process) == 1, seconds=120, pause=0.5)
        too_many = config(tmp_path / "more")
        too_many["pools"]["generate"] |= {"max": 9}
        launched = autoscaler.rename(tmp_path / "ray_bootstrap_config.yaml")
        home = {**chaos.ENVIRONMENT, "HOME": str(launched.parent)}  # as on the head of `ray up`
        _, err = finish(start(too_many, tmp_path, "--address", address, **home), 2)
        assert "pools.generate.max = 9 asks for 9 CPU, the cluster can give 4" in err
    finally:
        for child in [*psutil.Process(process.pid).children(recursive=True), process]:
            child.send_signal(signal.SIGKILL)
        process.wait()
        shutil.rmtree(short, ignore_errors=True)


def _fake_cluster(port: int) -> dict:
    """Up to two workers of two CPUs, which go after a few idle seconds."""
    provider = "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider"
    worker = {"resources": {"CPU": 2}, "node_config": {}, "min_workers": 0, "max_workers": 2}
    none_of = ("auth", "file_mounts"), ("cluster_synced_files", "initialization_commands")
    commands = [f"{kind}_commands" for kind in ("setup", "head_setup", "worker_setup")]
    commands += ["head_start_ray_commands", "worker_start_ray_commands"]
    return {
        **{key: {} for key in none_of[0]},
        **{key: [] for key in [*none_of[1], *commands]},
        "cluster_name": "fake",
        "max_workers": 2,
        "idle_timeout_minutes": 0.1,
        "provider": {
            "type": "external",
            "module": provider,
            "gcs_address": f"127.0.0.1:{port}",
            "use_node_id_as_ip": True,
            "disable_node_updaters": True,
            "disable_launch_config_check": True,
        },
        "available_node_types": {
            "ray.head.default": {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
            "worker": worker,
        },
        "head_node_type": "ray.head.default",
    }


def _raylets(head: subprocess.Popen) -> int:
    """Nodes that run below the head's processes."""
    children = psutil.Process(head.pid).children(recursive=True)
    return sum(_name(child) == "raylet" for child in children)


def _name(process: psutil.Process) -> str:
    try:
        return process.name() if process.status() != psutil.STATUS_ZOMBIE else ""
    except psutil.NoSuchProcess:
        return ""
