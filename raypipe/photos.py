"""Photos with captions, listed on the driver: a folder tree, Parquet, a data set, or shards.

What is listed is what a face_pairs run consists of: the photos themselves are opened by workers.
"""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import count
from typing import Any
from urllib.parse import quote

import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.fs as pafs

from raypipe import schema
from raypipe.errors import UserError
from raypipe.existing import SUFFIXES, open_dataset
from raypipe.files import absolute, list_folder, open_uri, read_text, telling
from raypipe.pair_settings import Photos
from raypipe.shards import list_shard

METADATA = "metadata.jsonl"

READERS = 16
"""Small files read at once: captions, or the headers of shards."""

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
    if not any(captions):
        raise UserError(
            f"none of the {len(found):,} photos has a caption (photos.captions = "
            f"{', '.join(photos.captions)}); photos.default_caption=TEXT gives them one: {where}"
        )
    batches = [f"0000-{number // batch_size:08d}" for number in range(len(found))]
    sources = [source for source, _ in found]
    return pa.table([sources, captions, batches], schema=schema.SOURCES)


def _folder(root: str, names: tuple[str, ...]) -> Iterator[Listed]:
    filesystem, base = open_uri(root)
    root = absolute(root).rstrip("/")
    try:
        with telling(root):
            infos = list_folder(filesystem, base, recursive=True)
            if not infos and filesystem.get_file_info(base).type == pafs.FileType.NotFound:
                raise UserError(f"photo folder not found: {root}")
    except (OSError, ValueError) as error:
        raise UserError(f"photo folder cannot be read: {root}: {error}") from None
    below = sorted(info.path[len(base) :].strip("/") for info in infos if info.is_file)

    def uri(name: str) -> str:
        return f"{root}/{quote(name) if '://' in root else name}"

    captions: dict[str, str | None] = {}
    for name in below:
        if name.rpartition("/")[2] == METADATA:
            captions |= _metadata(uri(name), name.removesuffix(METADATA), names)
    photos = [name for name in below if name.lower().endswith(SUFFIXES)]
    there = set(below)
    beside = {name: f"{name.rpartition('.')[0]}.txt" for name in photos}
    lone = [name for name in photos if name not in captions and beside[name] in there]
    with ThreadPoolExecutor(READERS) as pool:
        texts = pool.map(lambda name: read_text(uri(beside[name]), "caption file"), lone)
        captions |= {name: clean(text) for name, text in zip(lone, texts, strict=True)}
    for name in photos:
        yield uri(name), captions.get(name)


def _metadata(uri: str, folder: str, names: tuple[str, ...]) -> dict[str, str | None]:
    """Captions of a metadata.jsonl, by the photo's path below the root."""
    found = {}
    for number, line in enumerate(read_text(uri, METADATA).split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            file = row["file_name"]
        except (ValueError, KeyError, TypeError):
            raise UserError(
                f"each line of {METADATA} must be an object with a file_name: {uri}, line {number}"
            ) from None
        found[f"{folder}{file}"] = caption_of(row, names)
    return found


def _parquet(photos: Photos) -> Iterator[Listed]:
    uri = str(photos.parquet)
    filesystem, path = open_uri(uri)
    try:
        with telling(uri):
            dataset = pads.dataset(path, filesystem=filesystem, format="parquet")
    except (OSError, ValueError) as error:
        raise UserError(f"Parquet photos cannot be read: {uri}: {error}") from None
    if photos.image not in dataset.schema.names:
        raise UserError(f"{uri} has no column {photos.image}; it has {dataset.schema.names}")
    kind = dataset.schema.field(photos.image).type
    if pa.types.is_struct(kind):  # as data sets store pictures: {bytes, path}
        kind = kind.field("bytes").type if kind.get_field_index("bytes") >= 0 else kind
    if not (pa.types.is_binary(kind) or pa.types.is_large_binary(kind)):
        raise UserError(f"Parquet photos must be encoded bytes, got {kind}: {uri}")
    columns = [name for name in photos.captions if name in dataset.schema.names]
    for fragment in dataset.get_fragments():
        numbers = count()
        for batch in fragment.to_batches(columns=columns):
            rows = batch.to_pylist() if columns else [{}] * len(batch)
            for row in rows:
                yield f"{fragment.path}#{next(numbers)}", caption_of(row, photos.captions)


def _huggingface(photos: Photos) -> Iterator[Listed]:
    name = str(photos.huggingface)
    dataset = open_dataset(name, photos.revision, photos.split, photos.image)
    if photos.image not in dataset.column_names:
        raise UserError(f"{name} has no column {photos.image}; it has {dataset.column_names}")
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
        with telling(root):
            infos = list_folder(filesystem, base)
        found = sorted(info.path for info in infos if info.is_file and info.path.endswith(".tar"))
        files = [path.rpartition("/")[2] for path in found]
        shards = [f"{root}/{quote(file) if '://' in root else file}" for file in files]
    with ThreadPoolExecutor(READERS) as pool:
        for listed in pool.map(partial(list_shard, names=names), shards):
            yield from listed


def caption_of(row: dict[str, Any], names: tuple[str, ...]) -> str | None:
    """The caption in a row of a table or an object of JSON; None where it is empty or no text."""
    value = next((row[name] for name in names if name in row), None)
    return clean(value) if isinstance(value, str) else None


def clean(text: str) -> str | None:
    """A caption without the space around it; None where nothing is left."""
    return text.strip() or None
