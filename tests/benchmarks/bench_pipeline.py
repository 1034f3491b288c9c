"""The Ray pipeline against a bare diffusers loop, and what a finished run costs to ask for again.

Both sides make the same pictures of `miniature/sdxl` in the same batches with one thread, on the
same cores and in turn. The pipeline also encodes, embeds and stores them; its rate is taken from
the times at which its files appear, from the first batch to the last (steady state).
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml

from tests.benchmarks.ratios import row

ROOT = Path(__file__).parents[2]
BATCH, BATCHES, REPETITIONS = 16, 12, 3
PROMPT = "a portrait of a woman"
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}

BARE = """
import sys, time, diffusers, torch
torch.set_num_threads(1)
from raypipe import miniature
batch, batches, prompt = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
pipe = diffusers.DiffusionPipeline.from_pretrained(miniature.path("sdxl"))
pipe.set_progress_bar_config(disable=True)
for index in range(batches + 1):
    seeds = range(index * batch, (index + 1) * batch)
    pipe([prompt] * batch, generator=[torch.Generator().manual_seed(s) for s in seeds],
         num_inference_steps=20, guidance_scale=7.5, width=64, height=64)
    if index == 0:
        started = time.perf_counter()
print(batch * batches / (time.perf_counter() - started))
"""


def run() -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        pairs = []
        for index in range(REPETITIONS):
            bare = _bare_rate()
            pairs.append(_pipeline_rate(Path(folder), index) / bare)
        again = [_again_s(Path(folder)) for _ in range(REPETITIONS)]
    return [
        row("pipeline's images/s over a bare diffusers loop's, one generator", pairs, ">= 0.90"),
        row("finished run asked for again, seconds", again, "<= 3"),
    ]


def _bare_rate() -> float:
    command = [sys.executable, "-c", BARE, str(BATCH), str(BATCHES), PROMPT]
    told = subprocess.run(
        command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, check=True
    )
    return float(told.stdout.split()[-1])


def _pipeline_rate(folder: Path, index: int) -> float:
    _job(_config(folder, index))
    files = (folder / f"run{index}" / "images").glob("*.parquet")
    times = sorted(path.stat().st_mtime for path in files)
    return BATCH * (len(times) - 1) / (times[-1] - times[0])


def _again_s(folder: Path) -> float:
    started = time.perf_counter()
    _job(folder / "config0.yaml")
    return time.perf_counter() - started


def _config(folder: Path, index: int) -> Path:
    tree = {
        "models": [{"name": "sdxl", "id": "miniature/sdxl"}],
        "prompts": [PROMPT],
        "seeds": BATCH * (BATCHES + 1),
        "sampler": {"steps": 20, "guidance": 7.5, "width": 64, "height": 64},
        "encoder": {"id": "miniature/clip"},
        "pools": {
            "generate": {"cpus_per_actor": 1, "batch_size": BATCH},
            "embed": {"cpus_per_actor": 0.5},
        },
        "statistics": {"resamples": 99},
        "output": str(folder / f"run{index}"),
    }
    file = folder / f"config{index}.yaml"
    file.write_text(yaml.safe_dump(tree))
    return file


def _job(config: Path) -> None:
    command = [sys.executable, "jobs/consistency.py", str(config)]
    subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, check=True)
