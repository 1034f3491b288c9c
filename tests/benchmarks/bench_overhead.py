"""What Ray costs: until the first picture, beside a stage's own work, and in the object store.

The first picture: jobs/consistency.py against a script that loads the same model and makes the same
batch. The rest: tests/support/stand_in.py with one generator and one embedder, whose stages take a
known time, or none. Each run's batches are cut into windows, whose spread is given. bench_scale has
the driver's CPU and memory.
"""

import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pyarrow.dataset as pads

from raypipe.engine.stage import CALLS
from tests.benchmarks import study
from tests.benchmarks.ratios import row
from tests.support import ROOT

FIRST, REPETITIONS = 8, 3
BATCHES, WINDOWS, SEEDS, SIDE = 100, 5, 20, 192
STAGE_S = 0.1
PROMPT = "a portrait of a woman"
BARE = (
    study.LOAD
    + """
torch.set_num_threads(1)
batch, prompt, file = int(sys.argv[2]), sys.argv[3], sys.argv[4]
made = pipe([prompt] * batch, generator=[torch.Generator().manual_seed(s) for s in range(batch)],
            num_inference_steps=20, guidance_scale=7.5, width=64, height=64)
made.images[0].save(file)
"""
)

STAND_IN = """
import os
from raypipe.engine import chain, cluster
from raypipe.jobs import consistency
from tests.support import stand_in

def created_mib():
    import ray
    from ray._private.internal_api import get_memory_info_reply, get_state_from_address
    state = get_state_from_address(ray.get_runtime_context().gcs_address)
    return get_memory_info_reply(state).store_stats.cumulative_created_bytes / 2**20

cluster.object_store_mib = created_mib  # metrics/ then tell all that was ever put in
chain.CALLS = int(os.environ["CALLS"])
stand_in.work.steps = stand_in.steps
consistency.JOB.main()
"""


@dataclass(frozen=True)
class Measured:
    """One run of the stand-in, by window of its batches."""

    beside_ms: list[float]
    """Milliseconds a sample between two batches' work."""
    busy: list[float]
    """Share of the time that the generator's device worked."""
    stored: float
    """Bytes ever put into the object store over the encoded pictures' bytes."""


def run() -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        ours, bare = zip(*(_first(Path(folder) / str(i)) for i in range(REPETITIONS)), strict=True)
    idle = {batch: _stand_in(batch, stage_s=0.0) for batch in (1, 4, 16)}
    two, one = (_stand_in(4, stage_s=STAGE_S, calls=calls) for calls in (CALLS, 1))
    over = [mine / other for mine, other in zip(ours, bare, strict=True)]
    return [
        row("seconds to the first image, a local Ray's start included", ours, "<= 60"),
        row("seconds to the first image over a bare script's", over, "<= 6"),
        *(
            row(f"ms a sample beside a stage that takes no time, batches of {n}", m.beside_ms, goal)
            for (n, m), goal in zip(idle.items(), ("<= 40", "<= 10", "<= 4"), strict=True)
        ),
        row(f"busy share of one device, {STAGE_S} s a batch, {CALLS} calls", two.busy, ">= 0.95"),
        row(f"busy share of one device, {STAGE_S} s a batch, 1 call", one.busy, "none"),
        row("bytes put into the object store over encoded images'", idle[16].stored, "<= 2"),
    ]


def _first(folder: Path) -> tuple[float, float]:
    """Seconds to the first picture, by the job and by a bare script."""
    folder.mkdir()
    config = study.write(folder / "run", FIRST, [PROMPT], FIRST)
    picture = folder / "bare.png"
    script = ["-c", BARE, "sdxl", str(FIRST), PROMPT, str(picture)]
    return (
        _until(["jobs/consistency.py", str(config)], folder, "run/images/*.parquet"),
        _until(script, folder, picture.name),
    )


def _until(arguments: list[str], folder: Path, files: str) -> float:
    """Seconds from a process's start until a file is there; the process then ends by itself."""
    started = time.perf_counter()
    command, quiet = [sys.executable, *arguments], subprocess.DEVNULL
    with subprocess.Popen(
        command, cwd=ROOT, env=study.ENVIRONMENT, stdout=quiet, stderr=quiet
    ) as process:
        while not any(folder.glob(files)):
            assert process.poll() in (None, 0)
            time.sleep(0.01)
        taken = time.perf_counter() - started
        assert process.wait() == 0
    return taken


def _stand_in(batch: int, *, stage_s: float, calls: int = CALLS) -> Measured:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "slots").mkdir()
        prompts = [f"prompt number {i}" for i in range(batch * BATCHES // SEEDS)]
        config = study.write(folder / "run", batch, prompts, SEEDS)
        settings = {
            "CALLS": str(calls),
            "STAND_IN_SECONDS": str(stage_s),
            "STAND_IN_SIDE": str(SIDE),
            "STAND_IN_LOG": str(folder / "slots"),
        }
        study.python("-c", STAND_IN, config, **settings)
        (log,) = (folder / "slots").iterdir()
        spans = np.loadtxt(log)[BATCHES // 10 :]  # the embedder is still starting
        lines = (folder / "run" / "metrics" / "0000.jsonl").read_text().splitlines()
        created = json.loads(lines[-1])["object_store_mib"] * 2**20
        images = pads.dataset(folder / "run" / "images").to_table(columns=["image"])["image"]
    took = np.diff(spans, axis=0)[:, 1]  # from the end of one batch's work to that of the next
    worked = np.diff(spans, axis=1)[1:, 0]
    windows = np.array_split(np.stack([took, worked]), WINDOWS, axis=1)
    return Measured(
        beside_ms=[1e3 * float((t - w).mean()) / batch for t, w in windows],
        busy=[float(w.sum() / t.sum()) for t, w in windows],
        stored=created / pc.sum(pc.binary_length(images)).as_py(),
    )
