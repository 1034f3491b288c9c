"""Finished runs that a job takes as inputs: checked, listed and read.

Listing is done on the driver, from metadata alone; pictures are read where they are needed, by the
`source` that their row names.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import pyarrow as pa

from raypipe.config.inputs import Images
from raypipe.core import ids
from raypipe.errors import UserError
from raypipe.inputs.codec import inspect
from raypipe.inputs.finished import finished
from raypipe.inputs.pictures import PictureReader, list_pictures
from raypipe.storage import parquet, schema
from raypipe.storage.damage import DamagedError, reading
from raypipe.storage.directory import PART
from raypipe.storage.files import Folder, read_ahead

SIDES = ("good", "bad")
"""The two pictures of a pair, which are scored and shown as two models are."""

LISTED = schema.EVALUATED.remove(schema.EVALUATED.get_field_index("batch_id"))
"""A listed picture: where it is, what it shows, and its cluster."""

Row = dict[str, Any]

Found = tuple[bytes | None, str | None]
"""An encoded picture, or None with the reason that its run gives, if any."""


SCHEMAS = {
    "images": schema.IMAGES,
    "photos": schema.PHOTOS,
    "pairs": schema.PAIRS,
    "checks": schema.CHECKS,
}
"""Of the folders of a run that other jobs read."""

PLANS = {"images": "samples"}
"""Where the plan is whose batches a folder's files are; that of all others is `sources`."""


def batch_files(folder: Folder, below: str) -> list[str]:
    """Names of the files of a run's folder, in order: one for each batch of its plan.

    What else lies there is not the run's. DamagedError where one is missing, or the plan.
    """
    plan = PLANS.get(below, "sources")
    parts = [f"{plan}/{name}" for name in folder.names(plan) if PART.fullmatch(name)]
    if not parts:
        raise DamagedError(folder.uri, f"{plan}/0000.parquet", "is missing")
    ids = {i for p in parts for i in parquet.read(folder, p, ["batch_id"])["batch_id"].to_pylist()}
    planned = [f"{batch_id}.parquet" for batch_id in sorted(ids)]
    there = set(folder.names(below))
    for name in planned:
        if name not in there:
            raise DamagedError(folder.uri, f"{below}/{name}", "is missing")
    return planned


def tables(folder: Folder, below: str, columns: list[str]) -> Iterator[tuple[str, pa.Table]]:
    """Some columns of every file of a run's folder, in order, with the file's name."""

    def read(name: str) -> pa.Table:
        return parquet.read(folder, f"{below}/{name}", columns, SCHEMAS[below])

    return read_ahead(batch_files(folder, below), read)


def columns_of(folder: Folder, below: str, columns: list[str]) -> pa.Table:
    """Some columns of every file of a run's folder as one table, in order."""
    return pa.concat_tables(table for _, table in tables(folder, below, columns))


def photos_of(folder: Folder, name: str) -> dict[str, bytes]:
    """Encoded photos of one file of a pair run, by their ids."""
    photos = parquet.read(folder, f"photos/{name}", ["photo_id", "image"], schema.PHOTOS)
    return dict(zip(*(photos[column].to_pylist() for column in photos.column_names), strict=True))


def pairs_of(folder: Folder, name: str, rows: Sequence[int] | None = None) -> list[Row]:
    """Pairs of one file of a pair run (schema.PAIRS), all or those at some rows.

    A good picture that is not stored is the photo itself, which stands in its place here.
    """
    pairs = parquet.read(folder, f"pairs/{name}", schema.PAIRS.names, schema.PAIRS)
    found: list[Row] = (pairs if rows is None else pairs.take(rows)).to_pylist()
    if not all(pair["good"] for pair in found):
        photos = photos_of(folder, name)
        for pair in found:
            if not pair["good"]:
                pair["good"] = photos.get(pair["photo_id"])
    return found


class Pictures(Protocol):
    """Pictures that exist somewhere: listed once, read by their sources."""

    def rows(self) -> Iterator[Row]:
        """Every picture (LISTED, and what else its run knows).

        UserError where there is none, or where the directory is another job's.
        """
        ...

    def read(self, sources: Sequence[str], models: Sequence[str]) -> list[Found]:
        """Encoded pictures of these rows, in order."""
        ...


def read_usable(pictures: Pictures, rows: Sequence[Row]) -> list[bytes | None]:
    """Encoded pictures of listed rows; None for one that cannot be opened or is blank."""
    found = pictures.read([row["source"] for row in rows], [row["model"] for row in rows])
    return [
        data if reason is None and inspect(data).reason is None else None for data, reason in found
    ]


class ExistingPictures:
    """Pictures of a folder, a table or a data set."""

    def __init__(self, images: Images, is_reference: bool = False):
        self._images, self._is_reference = images, is_reference
        self._reader = PictureReader(images)

    def rows(self) -> Iterator[Row]:
        seen: set[str] = set()
        for picture in list_pictures(self._images):
            default = f"{picture.model}/{picture.prompt}/{picture.seed}"
            image_id = picture.image_id if picture.image_id is not None else default
            if image_id in seen:
                raise UserError(f"images must have ids of their own, got two of {image_id}")
            seen.add(image_id)
            prompt_id = ids.prompt_id(picture.prompt)
            yield {
                "image_id": image_id,
                "model": picture.model,
                "prompt_id": prompt_id,
                "prompt": picture.prompt,
                "seed": picture.seed,
                "photo_id": prompt_id,
                "is_reference": self._is_reference,
                "source": picture.source,
            }

    def read(self, sources: Sequence[str], models: Sequence[str]) -> list[Found]:
        return [(data, None) for data in self._reader(sources)]


class RunPictures:
    """Pictures of a finished consistency run."""

    def __init__(self, uri: str, key: str = "run"):
        self._uri, self._key = uri, key
        self._folder = Folder(uri)

    def rows(self) -> Iterator[Row]:
        finished(self._uri, "consistency", self._key)
        columns = ["sample_id", "model", "prompt_id", "prompt", "seed", "status"]
        for name, table in tables(self._folder, "images", columns):
            for number, row in enumerate(table.to_pylist()):
                yield {
                    "image_id": row.pop("sample_id"),
                    **row,
                    "photo_id": row["prompt_id"],
                    "is_reference": False,
                    "source": f"{name}#{number}",
                }

    def read(self, sources: Sequence[str], models: Sequence[str]) -> list[Found]:
        found: dict[str, Found] = {}
        for name, rows in _by_file(sources).items():
            columns = ["image", "reason"]
            table = parquet.read(self._folder, f"images/{name}", columns, schema.IMAGES)
            with reading(self._folder.uri, f"images/{name}", "the pictures of its batch"):
                table = table.take(rows)
            for number, row in zip(rows, table.to_pylist(), strict=True):
                found[f"{name}#{number}"] = row["image"], row["reason"]
        return [found[source] for source in sources]


class PairPictures:
    """Good and bad pictures of a finished pair run, as those of two models."""

    def __init__(self, uri: str, splits: Sequence[str], key: str = "pairs"):
        self._uri, self._key, self._splits = uri, key, splits
        self._folder = Folder(uri)
        self.left_out: Counter[str] = Counter()
        """Pairs that are not listed, by reason, once `rows` has come to its end."""

    def rows(self) -> Iterator[Row]:
        finished(self._uri, "face_pairs", self._key)
        columns = ["pair_id", "photo_id", "split", "box", "caption", "kind", "status"]
        found = False
        for name, table in tables(self._folder, "pairs", columns):
            for number, row in enumerate(table.to_pylist()):
                if row["status"] != schema.OK or row["split"] not in self._splits:
                    reason = "refused" if row["status"] != schema.OK else "other split"
                    self.left_out[reason] += 1
                    continue
                found = True
                for side in SIDES:
                    yield {
                        "image_id": f"{row['pair_id']}/{side}",
                        "model": side,
                        "prompt_id": row["pair_id"],
                        "prompt": row["caption"],
                        "seed": None,
                        "photo_id": row["photo_id"],
                        "box": row["box"],
                        "is_reference": False,
                        "source": f"{name}#{number}",
                        "kind": row["kind"],
                    }
        if not found:
            counts = ", ".join(f"{n} {reason}" for reason, n in self.left_out.items())
            raise UserError(
                f"there must be pairs of split {', '.join(self._splits)}, got "
                f"{counts or 'no pairs at all'}: {self._uri}"
            )

    def read(self, sources: Sequence[str], models: Sequence[str]) -> list[Found]:
        pairs: dict[str, Row] = {}
        for name, rows in _by_file(sources).items():
            for number, pair in zip(rows, pairs_of(self._folder, name, rows), strict=True):
                pairs[f"{name}#{number}"] = pair
        return [(pairs[source][side], None) for source, side in zip(sources, models, strict=True)]


def _by_file(sources: Sequence[str]) -> dict[str, list[int]]:
    """Rows of each file among sources `file#row`, each once."""
    found: dict[str, dict[int, None]] = {}
    for source in sources:
        name, _, row = source.rpartition("#")
        found.setdefault(name, {})[int(row)] = None
    return {name: list(rows) for name, rows in found.items()}


def check_pairs(uris: Sequence[str]) -> None:
    """UserError unless every directory is a finished pair run and no photo is in two splits."""
    split_of: dict[str, str] = {}
    for uri in uris:
        folder = finished(uri, "face_pairs", "pairs").folder
        for _, table in tables(folder, "pairs", ["photo_id", "split"]):
            for row in table.group_by(["photo_id", "split"]).aggregate([]).to_pylist():
                photo, split = row["photo_id"], row["split"]
                if split_of.setdefault(photo, split) != split:
                    raise UserError(
                        f"a photo must be in one split only, but {photo} is in "
                        f"{split_of[photo]} and {split}: {uri}"
                    )
