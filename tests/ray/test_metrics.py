"""A run's metrics where Prometheus reads them: on the metrics port of the driver's node."""

import os
import subprocess
import sys

import pytest

pytestmark = [pytest.mark.ray, pytest.mark.slow]

DRIVER = """
import sys, time, urllib.request
import ray
from raypipe.storage.files import Folder
from raypipe.engine import monitor

monitor.RECORD_S = 0.5
ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False)
url = f"http://127.0.0.1:{ray.nodes()[0]['MetricsExportPort']}/metrics"
state = {"generate": {"done": 3, "workers": 1, "busy_s": 0.1, "quarantined": 1}}
shown = []
publish = monitor.prometheus()
with monitor.Recorder(Folder(sys.argv[1]), {"generate": 8}, lambda: state, lambda: None, publish):
    until = time.monotonic() + 90
    while len(shown) < 8 and time.monotonic() < until:
        time.sleep(0.5)
        try:
            text = urllib.request.urlopen(url).read().decode()
        except OSError:  # the node's agent is still starting
            continue
        shown = [line for line in text.splitlines() if line.startswith("ray_raypipe_")]
print(*shown, sep="\\n")
"""


def test_metrics_are_on_rays_port(tmp_path):
    command = [sys.executable, "-c", DRIVER, str(tmp_path)]
    often = {**os.environ, "RAY_metrics_report_interval_ms": "500"}
    done = subprocess.run(
        command, env=often, capture_output=True, text=True, check=True, timeout=180
    )
    values = {}
    for line in done.stdout.splitlines():
        name, _, rest = line.partition("{")
        assert 'step="generate"' in rest
        values[name.removeprefix("ray_raypipe_")] = float(rest.split("} ")[1].split()[0])
    told = {"done": 3, "total": 8, "queue": 5, "quarantined": 1, "workers": 1}
    assert {key: values[key] for key in told} == told
    assert values.keys() >= {"per_s", "busy", "retried_batches"}
