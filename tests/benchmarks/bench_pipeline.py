"""The Ray pipeline against a bare diffusers loop, and what a finished run costs to ask for again.

Both sides make the same pictures of `miniature/sdxl` in the same batches with one thread, on the
same cores and in turn. The pipeline also encodes, embeds and stores them; its rate is taken from
the times at which its files appear, from the first batch to the last (steady state).
"""

import tempfile
import time
from pathlib import Path
from typing import Any

from tests.benchmarks import study
from tests.benchmarks.ratios import row

BATCH, BATCHES, REPETITIONS = 16, 12, 3
PROMPT = "a portrait of a woman"

BARE = (
    study.LOAD
    + """
torch.set_num_threads(1)
batch, batches, prompt = int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
for index in range(batches + 1):
    seeds = range(index * batch, (index + 1) * batch)
    pipe([prompt] * batch, generator=[torch.Generator().manual_seed(s) for s in seeds],
         num_inference_steps=20, guidance_scale=7.5, width=64, height=64)
    if index == 0:
        started = time.perf_counter()
print(batch * batches / (time.perf_counter() - started))
"""
)


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
    return float(study.python("-c", BARE, "sdxl", BATCH, BATCHES, PROMPT).split()[-1])


def _pipeline_rate(folder: Path, index: int) -> float:
    study.job(study.write(folder / f"run{index}", BATCH, [PROMPT], BATCH * (BATCHES + 1)))
    files = (folder / f"run{index}" / "images").glob("*.parquet")
    times = sorted(path.stat().st_mtime for path in files)
    return BATCH * (len(times) - 1) / (times[-1] - times[0])


def _again_s(folder: Path) -> float:
    started = time.perf_counter()
    study.job(folder / "run0.yaml")
    return time.perf_counter() - started
