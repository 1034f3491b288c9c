"""Stages: pictures that exist, from somewhere else or from an earlier part of this run."""

from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.parquet as pq

from raypipe import existing
from raypipe.files import Folder, open_uri, read_whole
from raypipe.settings import Images
from raypipe.stages.images import image_columns, inspect
from raypipe.stages.stage import Device

READERS = 8
"""Files fetched at once: most of the time goes to waiting for the storage."""


class ReadImages:
    """Brings pictures of a folder, Parquet or a data set into the run, bytes as they are."""

    reads = ("source",)
    drops = ("prompt_sent", "source", "width", "height", "device")

    def __init__(self, images: Images):
        self._images = images
        self.device = Device()
        self._dataset = None

    def __call__(self, batch: pa.Table) -> pa.Table:
        sources = batch["source"].to_pylist()
        with self.device:
            data = self.read(sources)
        return image_columns([inspect(item) for item in data], [False] * len(data), None)

    def read(self, sources: list[str]) -> list[bytes | None]:
        """Encoded pictures; None where there is none."""
        if self._images.folder is not None:
            with ThreadPoolExecutor(READERS) as pool:
                return list(pool.map(read_file, sources))
        if self._images.parquet is not None:
            return _read_parquet(self._images.parquet, sources)
        if self._dataset is None:
            images = self._images
            self._dataset = existing.open_dataset(
                str(images.huggingface), images.revision, images.split
            )
        rows = [self._dataset[int(s)]["image"] if s else None for s in sources]
        return [dataset_bytes(row) for row in rows]


class LoadImages:
    """Reads back what an earlier session of this run has stored, to embed it."""

    reads = ("batch_id",)
    drops = ("prompt_sent", "source")

    def __init__(self, uri: str):
        self._folder = Folder(uri)
        self.device = Device()

    def __call__(self, batch: pa.Table) -> pa.Table:
        name = f"images/{batch['batch_id'][0].as_py()}.parquet"
        with self.device:
            return pq.read_table(self._folder.open(name), columns=["image", "status"])


def read_file(source: str) -> bytes | None:
    """A file's content; None where there is none, or where the source is empty."""
    if not source:
        return None
    filesystem, path = open_uri(source)
    try:
        return read_whole(filesystem, path)
    except FileNotFoundError:
        return None


def _read_parquet(uri: str, sources: list[str]) -> list[bytes | None]:
    """Pictures at `file#row`; each file's column is read once for the batch."""
    filesystem, _ = open_uri(uri)
    wanted: dict[str, list[int]] = {}
    for source in filter(None, sources):
        path, _, row = source.rpartition("#")
        wanted.setdefault(path, []).append(int(row))
    found: dict[str, bytes | None] = {}
    for path, rows in wanted.items():
        dataset = pads.dataset(path, filesystem=filesystem, format="parquet")
        images = dataset.take(rows, columns=["image"])["image"].to_pylist()
        found |= {f"{path}#{row}": image for row, image in zip(rows, images, strict=True)}
    return [found.get(source) for source in sources]


def dataset_bytes(image: dict | None) -> bytes | None:
    """An encoded picture as data sets hold it: its bytes, or where they are."""
    if image is None:
        return None
    return image["bytes"] if image["bytes"] is not None else read_file(image["path"] or "")
