"""Stage: the pictures that metrics score, from wherever they are."""

from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from raypipe import schema
from raypipe.evaluate_settings import Evaluate
from raypipe.files import Folder
from raypipe.settings import Images
from raypipe.stages.images import inspect
from raypipe.stages.read import ReadImages
from raypipe.stages.stage import Device

Found = tuple[bytes | None, str | None]
"""An encoded picture, or None with the reason that its run says, if any."""

ADDED = pa.schema(
    [
        pa.field("image", pa.binary()),
        pa.field("status", pa.string(), nullable=False),
        pa.field("reason", pa.string()),
    ]
)


class ReadPictures:
    """Reads the pictures of a batch, bytes as they are; what cannot be used gets a reason."""

    reads = ("source", "model", "is_reference")
    drops = ("source", "is_reference", "model", "prompt_id", "seed", "photo_id")

    def __init__(self, config: Evaluate):
        self._config = config
        self._readers: dict[bool, Callable[[list[str], list[str]], list[Found]]] = {}
        self.device = Device()

    def __call__(self, batch: pa.Table) -> pa.Table:
        is_reference = batch["is_reference"][0].as_py()  # a batch is of one kind
        with self.device:
            if is_reference not in self._readers:
                self._readers[is_reference] = _reader(self._config, is_reference)
            found = self._readers[is_reference](
                batch["source"].to_pylist(), batch["model"].to_pylist()
            )
        rows = []
        for data, reason in found:
            seen = inspect(data)
            reason = reason or seen.reason
            status = schema.QUARANTINED if reason else schema.OK
            rows.append({"image": None if reason else data, "status": status, "reason": reason})
        return pa.Table.from_pylist(rows, schema=ADDED)


def _reader(config: Evaluate, is_reference: bool) -> Callable[[list[str], list[str]], list[Found]]:
    """What reads pictures by their sources and models."""
    images = config.reference if is_reference else config.images
    if images is not None:
        return _existing(images)
    if config.run is not None:
        return _stored(Folder(config.run))
    return _sides(Folder(str(config.pairs)))


def _existing(images: Images) -> Callable[[list[str], list[str]], list[Found]]:
    reader = ReadImages(images)
    return lambda sources, models: [(data, None) for data in reader.read(sources)]


def _stored(run: Folder) -> Callable[[list[str], list[str]], list[Found]]:
    """Pictures of a consistency run."""

    def read(sources: list[str], models: list[str]) -> list[Found]:
        rows = _rows(run, "images", sources, ["image", "reason"])
        return [(row["image"], row["reason"]) for row in rows]

    return read


def _sides(run: Folder) -> Callable[[list[str], list[str]], list[Found]]:
    """Good and bad pictures of pairs; a good one that is not stored is the photo itself."""

    def read(sources: list[str], sides: list[str]) -> list[Found]:
        rows = _rows(run, "pairs", sources, ["photo_id", "good", "bad"])
        found = []
        photos: dict[str, dict[str, bytes]] = {}
        for source, side, row in zip(sources, sides, rows, strict=True):
            name = source.rpartition("#")[0]
            if row[side] is None and side == "good":
                if name not in photos:
                    table = pq.read_table(run.open(f"photos/{name}"), columns=["photo_id", "image"])
                    columns = (table[column].to_pylist() for column in table.column_names)
                    photos[name] = dict(zip(*columns, strict=True))
                found.append((photos[name].get(row["photo_id"]), None))
            else:
                found.append((row[side], None))
        return found

    return read


def _rows(
    run: Folder, below: str, sources: Sequence[str], columns: list[str]
) -> list[dict[str, Any]]:
    """Some columns of the rows `file#row`; each file is read once."""
    places = [source.rpartition("#") for source in sources]
    tables = {
        name: pq.read_table(run.open(f"{below}/{name}"), columns=columns)
        for name in dict.fromkeys(name for name, _, _ in places)
    }
    return [tables[name].slice(int(row), 1).to_pylist()[0] for name, _, row in places]
