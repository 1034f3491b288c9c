"""Stages that read pictures: from a data set, or from an earlier session of this run."""

import pyarrow as pa
import pyarrow.parquet as pq

from raypipe.config.inputs import Images
from raypipe.engine.stage import Device
from raypipe.inputs.codec import inspect
from raypipe.inputs.pictures import PictureReader
from raypipe.storage.files import Folder
from raypipe.studies.consistency.images import image_columns


class ReadImages:
    """Copies pictures of a folder, Parquet or a data set into the run, bytes unchanged."""

    reads = ("source",)
    drops = ("prompt_sent", "source", "width", "height", "device")

    def __init__(self, images: Images):
        self._read = PictureReader(images)
        self.device = Device()

    def __call__(self, batch: pa.Table) -> pa.Table:
        with self.device:
            data = self._read(batch["source"].to_pylist())
        return image_columns([inspect(item) for item in data], [False] * len(data), None)


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
