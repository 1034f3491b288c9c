"""Runs of tests/stand_in.py, and what they hold."""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from raypipe.storage.files import open_uri
from tests.support import ROOT

PROMPTS = tuple(f"prompt {index}" for index in range(16))
SEEDS, BATCH = 10, 4


def config(output: str | Path, **more: Any) -> dict[str, Any]:
    """Two models, 320 samples, 80 batches."""
    return {
        "models": [{"name": n, "id": f"miniature/{n}"} for n in ("sdxl", "pixart")],
        "prompts": list(PROMPTS),
        "seeds": SEEDS,
        "encoder": {"id": "miniature/clip"},
        "statistics": {"resamples": 199},
        "pools": {
            "generate": {"min": 1, "max": 3, "batch_size": BATCH},
            "embed": {"min": 1, "max": 1, "cpus_per_actor": 0.5},
        },
        "output": str(output),
        **more,
    }


def start(
    tree: dict[str, Any],
    folder: Path,
    *arguments: str,
    log: IO | int = subprocess.PIPE,
    **environment: str,
) -> subprocess.Popen:
    """The job with stages that sleep, in a session of its own."""
    file = folder / f"{time.monotonic_ns()}.yaml"
    file.write_text(yaml.safe_dump(tree))
    return subprocess.Popen(
        [sys.executable, "tests/stand_in.py", str(file), *arguments],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "STAND_IN_SECONDS": "0.05", **environment},
        stdout=log,
        stderr=log,
        text=True,
        start_new_session=True,
    )


def finish(process: subprocess.Popen, status: int = 0) -> tuple[str, str]:
    """What a job printed; AssertionError unless it ends with this status."""
    out, err = process.communicate(timeout=300)
    assert process.returncode == status, err
    return out, err


def tables(uri: str | Path) -> dict[str, pa.Table]:
    """Every table of a run, by folder, in the order of the samples."""
    filesystem, path = open_uri(str(uri))
    return {
        folder: pq.read_table(f"{path}/{folder}", filesystem=filesystem).sort_by("sample_id")
        for folder in ("samples", "images", "embeddings")
    }


def assert_same(ours: str | Path, theirs: str | Path) -> None:
    """AssertionError if the runs differ in a sample, a byte of a picture, a vector or a number."""
    mine, other = tables(ours), tables(theirs)
    for folder, table in other.items():
        assert len(mine[folder]) == len(table), folder
        assert len(set(mine[folder]["sample_id"].to_pylist())) == len(table), folder
        assert mine[folder].equals(table), folder
    for name in ("results.json", "scores.parquet"):
        contents = []
        for uri in (ours, theirs):
            filesystem, path = open_uri(str(uri))
            with filesystem.open_input_file(f"{path}/{name}") as file:
                contents.append(file.read())
        assert contents[0] == contents[1], name
