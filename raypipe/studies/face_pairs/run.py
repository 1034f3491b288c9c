"""The run directory of jobs/face_pairs.py, and its two plans: photos, then photos with splits."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import pyarrow as pa

from raypipe.storage import schema
from raypipe.storage.damage import DamagedError
from raypipe.storage.directory import BatchFile, RunDirectory, split_batches
from raypipe.storage.parquet import ParquetFile

FILES = {"photos": schema.PHOTOS, "pairs": schema.PAIRS, "checks": schema.CHECKS}

PICTURES = ("image", "good", "bad")
"""Columns that are large, and that a digest alone is enough for."""


class PairRun(RunDirectory):
    """A face_pairs run; its plan is the list of photos."""

    plan = schema.SOURCES
    plan_folder = "sources"
    plan_folders = ("sources",)
    keys = ("source",)
    folders = ("sources", "splits", "photos", "pairs", "checks", "metrics")
    made = ("photos", "pairs", "checks")

    def plans(self) -> list[RunDirectory]:
        return [PairRun(self.uri), SplitPlan(self.uri)]

    def batch_files(self, config: Any) -> Iterator[BatchFile]:
        for batch_id, batch in split_batches(self.samples()):
            for folder, wanted in FILES.items():
                name = f"{folder}/{batch_id}.parquet"
                yield BatchFile(name, partial(self._check, name, batch, wanted))

    def _check(self, name: str, batch: pa.Table, wanted: pa.Schema, file: ParquetFile) -> None:
        """DamagedError unless a file has its folder's columns, and photos are the batch's."""
        table = file.read([n for n in wanted.names if n not in PICTURES], schema=wanted)
        if "source" in wanted.names and not table["source"].equals(batch["source"]):
            raise DamagedError(self.uri, name, "must hold the photos of its batch")


class SplitPlan(PairRun):
    """The same run once every photo has its split, which is the plan of inpainting."""

    plan = schema.SPLITS
    plan_folder = "splits"
    keys = ()  # a photo that is there twice has two rows
