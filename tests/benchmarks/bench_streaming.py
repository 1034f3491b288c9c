"""Scoring from a run directory: time and peak memory of the driver as the prompts grow, and bytes.

Writes runs of random embeddings (20 seeds × 512 dimensions), then scores each in a fresh process,
as the job does. RAYPIPE_BENCH_PROMPTS=100000 makes the larger run the size of the promise (4 GB of
embeddings on disk).
"""

import json
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from raypipe.config.networks import Encoder
from raypipe.core import ids
from raypipe.storage import schema
from raypipe.storage.names import batch_file
from raypipe.studies.consistency.run import Run
from tests.benchmarks import study
from tests.benchmarks.ratios import read_rate, row

SEEDS, DIM, PROMPTS_A_FILE = 20, 512, 10
FEW = 1_000
MANY = int(os.environ.get("RAYPIPE_BENCH_PROMPTS", "10000"))
ENCODER = Encoder(id="random", pretrained=None)

SCORE = """
import json, resource, sys, time
from raypipe.studies.consistency.run import Run
from raypipe.config.networks import Encoder
from raypipe.studies.consistency.scores import score_model, survey
run = Run(sys.argv[1])
started = time.perf_counter()
samples = run.samples()
scores = score_model(run, samples, "m", Encoder(id="random", pretrained=None), survey(run, samples))
print(json.dumps({"seconds": time.perf_counter() - started, "rows": len(scores.rows),
                  "gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20}))
"""


def run() -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        few, many = (_measure(Path(folder) / str(n), n) for n in (FEW, MANY))
    growth = (many["seconds"] / MANY) / (few["seconds"] / FEW)
    percent = 100 * MANY * SEEDS * DIM * 4 / many["seconds"] / read_rate()
    return [
        row(f"scoring a run, time a prompt at {MANY:,} over {FEW:,}", growth, "<= 1.2"),
        row(f"scoring a run, peak GB of the driver at {MANY:,} × 20 × 512", many["gb"], "<= 2"),
        row("scoring a run, per cent of the bytes a second that memory gives", percent, ">= 0.25"),
    ]


def _measure(folder: Path, prompts: int) -> dict[str, float]:
    _write(Run(str(folder)), prompts)
    measured: dict[str, float] = json.loads(study.python("-c", SCORE, folder))
    assert measured["rows"] == prompts
    return measured


def _write(run: Run, prompts: int) -> None:
    """A run of random embeddings, with the files that the job would have written."""
    rng = np.random.default_rng(0)
    plan = []
    for first in range(0, prompts, PROMPTS_A_FILE):
        batch_id = f"0000-{first:08d}"
        names = [f"prompt {i}" for i in range(first, min(first + PROMPTS_A_FILE, prompts))]
        rows = [
            {
                "sample_id": ids.content_hash({"prompt": name, "seed": seed}),
                "model": "m",
                "prompt_id": ids.prompt_id(name),
                "prompt": name,
                "seed": seed,
                "batch_id": batch_id,
                "prompt_sent": name,
                "truncated": False,
                "status": schema.OK,
            }
            for name in names
            for seed in range(SEEDS)
        ]
        plan.append(pa.Table.from_pylist(rows, schema=schema.SAMPLES))
        run.write_table(
            f"images/{batch_id}.parquet", pa.Table.from_pylist(rows, schema=schema.IMAGES)
        )
        vectors = rng.normal(1, 1, size=(len(rows), DIM)).astype(np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        embeddings = {
            "sample_id": [row["sample_id"] for row in rows],
            "encoder": [ENCODER.name] * len(rows),
            "embedding": pa.FixedSizeListArray.from_arrays(vectors.ravel(), DIM),
            "clip_score": pa.nulls(len(rows), pa.float32()),
        }
        table = pa.table(embeddings, schema=schema.embeddings(DIM))
        run.write_table(batch_file("embeddings", ENCODER.name, batch_id), table)
    run.add_samples(pa.concat_tables(plan), 0)
