"""Photos with captions, listed on the driver: a folder tree, Parquet, a data set, or shards.

What is listed is what a face_pairs run consists of: the photos themselves are opened by workers.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any
from urllib.parse import quote

import numpy as np
import pyarrow as pa

from raypipe.config.inputs import Photos
from raypipe.core.limits import TEXT, parse_json
from raypipe.errors import UserError
from raypipe.inputs.datasets import DatasetPictures, check_paths, open_dataset
from raypipe.inputs.parquet import ParquetPictures, list_rows
from raypipe.inputs.parquet import open_dataset as open_parquet
from raypipe.inputs.pictures import SUFFIXES, check_file, read_file
from raypipe.inputs.rows import lines_of
from raypipe.inputs.shards import list_shard, read_from_shard
from raypipe.storage import schema
from raypipe.storage.directory import batch_numbers
from raypipe.storage.files import (
    absolute,
    list_folder,
    open_uri,
    read_ahead,
    read_text,
    storage_errors,
    walk,
)

METADATA = "metadata.jsonl"

Listed = tuple[str, str | None]
"""Where a photo is, as workers open it, and its caption."""


def list_photos(photos: Photos, batch_size: int) -> pa.Table:
    """Every photo of the source in its order, in batches (schema.SOURCES).

    UserError where there is none, or where none has a caption.
    """
    where = photos.folder or photos.parquet or photos.huggingface or photos.shards
    if photos.folder is not None:
        found = list(_folder(photos.folder, photos.captions))
    elif photos.parquet is not None:
        found = list(_parquet(photos))
    elif photos.huggingface is not None:
        found = list(_huggingface(photos))
    else:
        found = list(_shards(str(photos.shards), photos.captions))
    if not found:
        raise UserError(f"no photos found: {where}")
    captions = [caption or photos.default_caption for _, caption in found]
    for source, caption in found:
        if len(caption or "") > TEXT:
            raise UserError(
                f"a caption must have at most {TEXT:,} characters, got {len(caption or ''):,}: "
                f"{source}"
            )
    if not any(captions):
        raise UserError(
            f"none of the {len(found):,} photos has a caption (photos.captions = "
            f"{', '.join(photos.captions)}); photos.default_caption=TEXT gives them one: {where}"
        )
    numbers = batch_numbers(np.zeros(len(found)), batch_size)
    batches = [f"0000-{number:08d}" for number in numbers]
    sources = [source for source, _ in found]
    return pa.table([sources, captions, batches], schema=schema.SOURCES)


def _folder(root: str, names: tuple[str, ...]) -> Iterator[Listed]:
    files = {}
    for below, uri, size in walk(root, "photo folder"):
        if below.lower().endswith(SUFFIXES):
            check_file(uri, size)
        files[below] = uri
    captions: dict[str, str | None] = {}
    for name, uri in files.items():
        if name.rpartition("/")[2] == METADATA:
            captions |= _metadata(uri, name.removesuffix(METADATA), names)
    photos = [name for name in files if name.lower().endswith(SUFFIXES)]
    sidecar = {name: f"{name.rpartition('.')[0]}.txt" for name in photos}
    uncaptioned = [name for name in photos if name not in captions and sidecar[name] in files]
    texts = read_ahead(uncaptioned, lambda name: read_text(files[sidecar[name]], "caption file"))
    captions |= {name: clean(text) for name, text in texts}
    for name in photos:
        yield files[name], captions.get(name)


def _metadata(uri: str, folder: str, names: tuple[str, ...]) -> dict[str, str | None]:
    """Captions of a metadata.jsonl, by the photo's path below the root."""
    found = {}
    for number, line in lines_of(read_text(uri, METADATA), uri, METADATA):
        try:
            row = parse_json(line)
            file = row["file_name"]
        except (ValueError, KeyError, TypeError):
            raise UserError(
                f"each line of {METADATA} must be an object with a file_name: {uri}, line {number}"
            ) from None
        found[f"{folder}{file}"] = caption_of(row, names)
    return found


def _parquet(photos: Photos) -> Iterator[Listed]:
    uri = str(photos.parquet)
    dataset = open_parquet(uri, "Parquet photos", photos.captions)
    if photos.image not in dataset.schema.names:
        raise UserError(f"{uri} has no column {photos.image}; it has {dataset.schema.names}")
    kind = dataset.schema.field(photos.image).type
    if pa.types.is_struct(kind):  # as data sets store pictures: {bytes, path}
        kind = kind.field("bytes").type if kind.get_field_index("bytes") >= 0 else kind
    if not (pa.types.is_binary(kind) or pa.types.is_large_binary(kind)):
        raise UserError(f"Parquet photos must be encoded bytes, got {kind}: {uri}")
    columns = [name for name in photos.captions if name in dataset.schema.names]
    for source, row in list_rows(dataset, columns, "Parquet photos", uri):
        yield source, caption_of(row, photos.captions)


def _huggingface(photos: Photos) -> Iterator[Listed]:
    name = str(photos.huggingface)
    dataset = open_dataset(name, photos.revision, photos.split, photos.image)
    if photos.image not in dataset.column_names:
        raise UserError(f"{name} has no column {photos.image}; it has {dataset.column_names}")
    check_paths(dataset, photos.image, name)
    columns = [column for column in photos.captions if column in dataset.column_names]
    if not columns:
        return (yield from ((str(number), None) for number in range(len(dataset))))
    for number, row in enumerate(dataset.select_columns(columns)):
        yield str(number), caption_of(row, photos.captions)


def _shards(root: str, names: tuple[str, ...]) -> Iterator[Listed]:
    filesystem, base = open_uri(root)
    root = absolute(root).rstrip("/")
    shards = [root]
    if not root.endswith(".tar"):
        with storage_errors(root):
            infos = list_folder(filesystem, base)
        found = sorted(info.path for info in infos if info.is_file and info.path.endswith(".tar"))
        files = [path.rpartition("/")[2] for path in found]
        shards = [f"{root}/{quote(file) if '://' in root else file}" for file in files]
    for _, listed in read_ahead(shards, partial(list_shard, names=names)):
        yield from listed


def caption_of(row: dict[str, Any], names: tuple[str, ...]) -> str | None:
    """The caption in a row of a table or an object of JSON; None where it is empty or no text."""
    value = next((row[name] for name in names if name in row), None)
    return clean(value) if isinstance(value, str) else None


def clean(text: str) -> str | None:
    """A caption without the space around it; None where nothing is left."""
    return text.strip() or None


class PhotoReader:
    """Encoded photos by their sources; None for one that is no longer there."""

    def __init__(self, photos: Photos):
        self._read: Callable[[Sequence[str]], list[bytes | None]]
        if photos.parquet is not None:
            self._read = ParquetPictures(photos.parquet, photos.image)
        elif photos.huggingface is not None:
            self._read = DatasetPictures(
                photos.huggingface, photos.revision, photos.split, photos.image
            )
        else:
            read = read_file if photos.folder is not None else read_from_shard
            one = partial(read, root=absolute(photos.folder or str(photos.shards)))
            self._read = lambda sources: [data for _, data in read_ahead(sources, one)]

    def __call__(self, sources: list[str]) -> list[bytes | None]:
        """The bytes of each, in order."""
        return self._read(sources)
