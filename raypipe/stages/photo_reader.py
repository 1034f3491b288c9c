"""Brings photos to a worker, from every kind of source that `raypipe.photos` lists."""

import threading
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import groupby

import numpy as np
import pyarrow.parquet as pq

from raypipe import existing
from raypipe.files import open_uri
from raypipe.pair_settings import Photos
from raypipe.shards import read_from_shard
from raypipe.stages.read import READERS, dataset_bytes, read_file


class PhotoReader:
    """Encoded photos by their sources; None for one that is no longer there."""

    def __init__(self, photos: Photos):
        self._photos = photos
        self._lock = threading.Lock()
        self._dataset = None
        self._group = lru_cache(1)(self._read_group)

    def __call__(self, sources: list[str]) -> list[bytes | None]:
        """The bytes of each, in order."""
        if self._photos.parquet is not None:
            return self._rows_of_parquet(sources)
        if self._photos.huggingface is not None:
            return self._rows_of_dataset(sources)
        read = read_file if self._photos.folder is not None else read_from_shard
        with ThreadPoolExecutor(READERS) as pool:
            return list(pool.map(read, sources))

    def _rows_of_parquet(self, sources: list[str]) -> list[bytes | None]:
        """Pictures at `file#row`: batches are neighbours, so a row group is read for several."""
        found: list[bytes | None] = []
        for path, some in groupby(sources, key=lambda source: source.rpartition("#")[0]):
            rows = [int(source.rpartition("#")[2]) for source in some]
            found += self._rows_of_file(path, rows)
        return found

    def _rows_of_file(self, path: str, rows: list[int]) -> list[bytes | None]:
        filesystem, _ = open_uri(str(self._photos.parquet))
        try:
            metadata = pq.read_metadata(path, filesystem=filesystem)
        except FileNotFoundError:
            return [None] * len(rows)
        sizes = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
        ends = np.cumsum(sizes)
        found: list[bytes | None] = []
        for row in rows:
            group = int(np.searchsorted(ends, row, side="right"))
            if group == len(sizes):
                found.append(None)
                continue
            with self._lock:
                pictures = self._group(path, group)
            found.append(_bytes(pictures[row - int(ends[group]) + sizes[group]].as_py()))
        return found

    def _read_group(self, path: str, group: int):
        filesystem, _ = open_uri(str(self._photos.parquet))
        file = pq.ParquetFile(path, filesystem=filesystem)
        return file.read_row_group(group, columns=[self._photos.image])[self._photos.image]

    def _rows_of_dataset(self, sources: list[str]) -> list[bytes | None]:
        photos = self._photos
        with self._lock:
            if self._dataset is None:
                self._dataset = existing.open_dataset(
                    str(photos.huggingface), photos.revision, photos.split, photos.image
                )
            return [dataset_bytes(self._dataset[int(row)][photos.image]) for row in sources]


def _bytes(value: bytes | dict | None) -> bytes | None:
    """A picture of a Parquet column, which may hold it in a struct."""
    return value.get("bytes") if isinstance(value, dict) else value
