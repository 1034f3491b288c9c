"""Runs of tests/support/stand_in.py, and what they hold."""

import subprocess
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from raypipe.storage.files import open_uri
from tests.support import jobs
from tests.support.jobs import finish

__all__ = ["assert_same", "config", "finish", "start", "tables"]

PROMPTS = tuple(f"prompt {index}" for index in range(16))
SEEDS, BATCH = 3, 4


def config(output: str | Path, **more: Any) -> dict[str, Any]:
    """Two models, 96 samples, 24 batches."""
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


def start(tree: dict[str, Any], folder: Path, *arguments: str, **more: Any) -> subprocess.Popen:
    """The job with stages that sleep."""
    more = {"STAND_IN_SECONDS": "0.05", **more}
    return jobs.start("tests/support/stand_in.py", tree, folder, *arguments, **more)


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
