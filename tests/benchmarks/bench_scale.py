"""The main job on simulated GPUs: how busy they are kept, and what the driver costs.

Each run is tests/support/stand_in.py in a process of its own: a plan, actors that sleep like a GPU,
files, scores and a report. RAYPIPE_BENCH_SLOTS (16) is the number of actors,
RAYPIPE_BENCH_SAMPLES (20000) the size of the larger of two runs, the smaller being a tenth;
RAYPIPE_BENCH_SECONDS (2.5) is what a batch of ten takes.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from tests.benchmarks import study
from tests.benchmarks.ratios import row
from tests.support import ROOT

SLOTS = int(os.environ.get("RAYPIPE_BENCH_SLOTS", "16"))
SAMPLES = int(os.environ.get("RAYPIPE_BENCH_SAMPLES", "20000"))
SECONDS = float(os.environ.get("RAYPIPE_BENCH_SECONDS", "2.5"))
SEEDS, BATCH, SIDE = 20, 10, 192


def run() -> list[dict[str, Any]]:
    few, many = _measure(SAMPLES // 10), _measure(SAMPLES)
    sizes = f"{SAMPLES:,} samples over {SAMPLES // 10:,}"
    of_images = many["store_mib"] * 2**20 / (many["image_bytes"] * BATCH)
    return [
        row(f"busy share of {SLOTS} slots while all could be", many["steady"], ">= 0.95"),
        row(f"busy share of {SLOTS} slots, first to last batch", many["whole"], ">= 0.5"),
        row(f"peak memory of the driver, {sizes}", many["mib"] / few["mib"], "<= 1.10"),
        row(f"peak MiB of the driver at {SAMPLES:,}", many["mib"], "<= 1024"),
        row("CPU seconds of the driver for 10⁵ samples", many["cpu_s"] * 1e5 / SAMPLES, "<= 600"),
        row("batches of pictures in the object store at its fullest", of_images, "<= 500"),
    ]


def _measure(n_samples: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        config, logs = _config(Path(folder), n_samples), Path(folder) / "slots"
        logs.mkdir()
        driver = subprocess.Popen(
            [sys.executable, "tests/support/stand_in.py", str(config)],
            cwd=ROOT,
            env={
                **study.ENVIRONMENT,
                "STAND_IN_SECONDS": str(SECONDS),
                "STAND_IN_SIDE": str(SIDE),
                "STAND_IN_LOG": str(logs),
            },
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        mib, cpu_s = 0.0, 0.0
        while driver.poll() is None:
            mib, cpu_s = _usage(driver.pid, mib, cpu_s)
            time.sleep(0.2)
        assert driver.returncode == 0
        output = Path(folder) / "run"
        metrics = (output / "metrics" / "0000.jsonl").read_text().splitlines()
        stored = sum(path.stat().st_size for path in (output / "images").iterdir())
        return {
            "mib": mib,
            "cpu_s": cpu_s,
            "store_mib": max(json.loads(line)["object_store_mib"] or 0 for line in metrics),
            "image_bytes": stored / n_samples,
            **_busy(logs),
        }


def _usage(pid: int, mib: float, cpu_s: float) -> tuple[float, float]:
    """Highest memory and all CPU time so far of one process, its children apart."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
        stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:  # it has just ended
        return mib, cpu_s
    peak = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")]
    ticks = int(stat[11]) + int(stat[12])
    return int(peak[0]) / 2**10 if peak else mib, ticks / os.sysconf("SC_CLK_TCK")


def _busy(logs: Path) -> dict[str, float]:
    """Busy shares of the slots.

    steady: from the last slot's first batch to the first slot's last one, while every slot could
    be busy; whole: from the first batch to the last, slots that were still starting included.
    """
    spans = [np.loadtxt(path, ndmin=2) for path in logs.iterdir()]
    first, last = min(s[0, 0] for s in spans), max(s[-1, 1] for s in spans)
    start, end = max(s[0, 0] for s in spans), min(s[-1, 1] for s in spans)
    steady = sum(float(np.diff(np.clip(s, start, end)).sum()) for s in spans)
    whole = sum(float(np.diff(s).sum()) for s in spans)
    return {
        "steady": steady / (SLOTS * (end - start)),
        "whole": whole / (SLOTS * (last - first)),
    }


def _config(folder: Path, n_samples: int) -> Path:
    prompts = folder / "prompts.txt"
    lines = [f"prompt number {i} of a list of many prompts" for i in range(n_samples // SEEDS)]
    prompts.write_text("\n".join(lines))
    pools = {
        "generate": {"min": SLOTS, "max": SLOTS, "cpus_per_actor": 0.5, "batch_size": BATCH},
        "embed": {"min": 1, "max": 2, "cpus_per_actor": 0.5},
    }
    return study.write(folder / "run", BATCH, str(prompts), SEEDS, pools=pools)
