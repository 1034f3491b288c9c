"""Stage: reads the pictures that metrics score, from any of the sources."""

import pyarrow as pa

from raypipe.engine.stage import Device
from raypipe.inputs.codec import inspect
from raypipe.inputs.runs import ExistingPictures, PairPictures, Pictures, RunPictures
from raypipe.storage import schema
from raypipe.studies.evaluate.settings import Evaluate

ADDED = pa.schema(
    [
        pa.field("image", pa.binary()),
        pa.field("status", pa.string(), nullable=False),
        pa.field("reason", pa.string()),
    ]
)


class ReadPictures:
    """Reads the pictures of a batch, bytes unchanged; unusable ones get a reason."""

    reads = ("source", "model", "is_reference")
    drops = ("source", "is_reference", "model", "prompt_id", "seed", "photo_id")

    def __init__(self, config: Evaluate):
        self._sources = {False: source_of(config)}
        if config.reference is not None:
            self._sources[True] = ExistingPictures(config.reference, is_reference=True)
        self.device = Device()

    def __call__(self, batch: pa.Table) -> pa.Table:
        pictures = self._sources[batch["is_reference"][0].as_py()]  # a batch is of one kind
        with self.device:
            found = pictures.read(batch["source"].to_pylist(), batch["model"].to_pylist())
        rows = []
        for data, reason in found:
            seen = inspect(data)
            reason = reason or seen.reason
            status = schema.QUARANTINED if reason else schema.OK
            rows.append({"image": None if reason else data, "status": status, "reason": reason})
        return pa.Table.from_pylist(rows, schema=ADDED)


def source_of(config: Evaluate) -> Pictures:
    """The source of the scored pictures."""
    if config.images is not None:
        return ExistingPictures(config.images)
    if config.run is not None:
        return RunPictures(config.run)
    return PairPictures(str(config.pairs), config.splits)
