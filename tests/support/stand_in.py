"""The main job with stages that sleep like a GPU instead of computing: for faults and for scale.

`python tests/support/stand_in.py CONFIG ...` is jobs/consistency.py, from the plan to the report,
but for the two stages: pictures are drawn by sample id from a few hundred encoded ones, so that
their bytes are real and the same in every run; vectors come out of the sample id as well.
Environment:
STAND_IN_SECONDS a batch (0.1), STAND_IN_EMBED_SECONDS (0), STAND_IN_SIDE of the pictures in pixels
(48), STAND_IN_RECORD_S between two lines of metrics, and STAND_IN_LOG, a folder where every actor
notes when it worked.
"""

import os
import sys
import time
import uuid
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa

ROOT = Path(__file__).parents[2]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from raypipe.config.sections import Storage  # noqa: E402
from raypipe.console import leave  # noqa: E402
from raypipe.engine import monitor  # noqa: E402
from raypipe.engine.stage import Device, Step  # noqa: E402
from raypipe.inputs.codec import Encoded, encode  # noqa: E402
from raypipe.jobs.consistency import JOB  # noqa: E402
from raypipe.studies.consistency import work  # noqa: E402
from raypipe.studies.consistency.embed import columns  # noqa: E402
from raypipe.studies.consistency.images import image_columns  # noqa: E402
from raypipe.studies.consistency.run import Run  # noqa: E402
from raypipe.studies.consistency.settings import Consistency  # noqa: E402

PICTURES, DIM = 300, 512


class SleepingGenerator:
    """Holds its device for a while, and answers with pictures that were encoded before."""

    reads = ("sample_id", "seed")
    drops = ("prompt_sent", "source", "width", "height", "device")

    def __init__(self, seconds: float, side: int, log: str | None):
        self.device = Device()
        self._seconds, self._side = seconds, side
        self._pictures: dict[int, Encoded] = {}
        self._log = Path(log) / uuid.uuid4().hex if log else None

    def _picture(self, sample_id: str) -> Encoded:
        """One of the pictures, encoded when it is first drawn."""
        index = int(sample_id, 16) % PICTURES
        if index not in self._pictures:
            noise = np.random.default_rng(index).random((self._side, self._side, 3), np.float32)
            self._pictures[index] = encode(noise, Storage())
        return self._pictures[index]

    def __call__(self, batch: pa.Table) -> pa.Table:
        with self.device:
            started = time.time()
            time.sleep(self._seconds)
            if self._log:
                with self._log.open("a") as log:
                    log.write(f"{started} {time.time()}\n")
        made = [self._picture(sample_id) for sample_id in batch["sample_id"].to_pylist()]
        return image_columns(made, [False] * len(made), "simulated")


class IdEncoder:
    """A unit vector for each picture, out of its sample's id."""

    reads = ("sample_id",)
    drops = ("image",)

    def __init__(self, names: tuple[str, str], seconds: float):
        self.device = Device()
        self._names, self._seconds = names, seconds

    def __call__(self, batch: pa.Table) -> pa.Table:
        with self.device:
            seeds = [int(i[:8], 16) for i in batch["sample_id"].to_pylist()]
            vectors = [np.random.default_rng(s).normal(1, 1, DIM).astype(np.float32) for s in seeds]
            vectors = [vector / np.linalg.norm(vector) for vector in vectors]
            time.sleep(self._seconds)
        embedding, clip_score = self._names
        return pa.table(
            {
                embedding: pa.array(vectors, pa.list_(pa.float32())),
                clip_score: pa.nulls(len(batch), pa.float32()),
            }
        )


def steps(run: Run, config: Consistency, way: str) -> list[Step]:
    """In place of raypipe.studies.consistency.work.steps: the same, but for what the stages do."""
    first, embed = real_steps(run, config, way)
    seconds = float(os.environ.get("STAND_IN_SECONDS", "0.1"))
    side = int(os.environ.get("STAND_IN_SIDE", "48"))
    generator = partial(SleepingGenerator, seconds, side, os.environ.get("STAND_IN_LOG"))
    if way == "generate":
        first = replace(first, make=generator)
    pause = float(os.environ.get("STAND_IN_EMBED_SECONDS", "0"))
    encoder = partial(IdEncoder, columns(config.encoder[0]), pause)
    return [first, replace(embed, make=encoder)]


real_steps = work.steps

if __name__ == "__main__":
    work.steps = steps
    monitor.RECORD_S = float(os.environ.get("STAND_IN_RECORD_S", monitor.RECORD_S))
    leave.run(JOB.main)  # as jobs/consistency.py does
