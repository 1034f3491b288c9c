"""Stages that read pictures: from a data set, or from an earlier session of this run."""

import pyarrow as pa
import pyarrow.compute as pc

from raypipe.config.inputs import Images
from raypipe.engine.stage import Device
from raypipe.inputs.codec import inspect
from raypipe.inputs.pictures import PictureReader
from raypipe.storage import parquet, schema
from raypipe.storage.damage import DamagedError, reading
from raypipe.storage.files import Folder
from raypipe.storage.parquet import ParquetFile
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
            file = ParquetFile(self._folder, name)
            table = file.read(["image", "status"], schema=schema.IMAGES)
        if not file.sealed:  # raypipe 0.1 could not tell whether a picture has changed
            check_pictures(self._folder, name, table)
        return table


def check_images(folder: Folder, name: str, batch: pa.Table, file: ParquetFile) -> None:
    """DamagedError unless an images file is its batch's, and holds pictures that can be opened."""
    columns = [column for column in schema.IMAGES.names if column != "image"]
    read_images(folder, name, batch, columns)
    if not file.sealed:
        check_pictures(folder, name, file.read(["image", "status"], schema=schema.IMAGES))


def read_images(folder: Folder, name: str, batch: pa.Table, columns: list[str]) -> pa.Table:
    """Columns of a batch's images file, `sample_id` and `status` among them.

    DamagedError unless its samples are those of the plan.
    """
    table = parquet.read(folder, name, columns, schema.IMAGES)
    same = ["sample_id", "model", "prompt_id", "seed"]
    with reading(folder.uri, name, "the pictures of its batch"):
        wanted = batch.select(same).combine_chunks()
        got = table.select(same).cast(wanted.schema).combine_chunks()
        assert got.equals(wanted), "it holds other samples"
        usable = pc.equal(table["status"], schema.OK)
        assert pc.all(pc.or_(usable, table["reason"].is_valid())).as_py(), "a reason is missing"
    return table


def check_pictures(folder: Folder, name: str, table: pa.Table) -> None:
    """DamagedError unless each usable picture of an images file can be opened."""
    for row, (data, status) in enumerate(zip(table["image"], table["status"], strict=True)):
        if status.as_py() == schema.OK:
            reason = inspect(data.as_py()).reason
            if reason is not None:
                rule = f"must hold whole pictures, but row {row} is {reason}"
                raise DamagedError(folder.uri, name, rule)
