"""Pictures that exist already, listed on the driver: a folder tree, Parquet, or a data set."""

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import pyarrow as pa

from raypipe.config.inputs import Images
from raypipe.core.address import check_address, is_below
from raypipe.core.limits import PICTURE
from raypipe.errors import UserError
from raypipe.inputs.datasets import DatasetPictures, check_paths, open_dataset
from raypipe.inputs.parquet import ParquetPictures, list_rows
from raypipe.inputs.parquet import open_dataset as open_parquet
from raypipe.storage.files import absolute, open_uri, read_ahead, read_whole, walk

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")

IMAGE_ID = "image_id"
"""Column of a table that may name its pictures."""


@dataclass(frozen=True)
class Picture:
    """Where one picture is, and what it shows."""

    model: str
    prompt: str
    """As it was sent: the folder's name, or the data set's column."""
    seed: int
    source: str
    """What `PictureReader` opens."""
    size: int
    """Bytes, where the listing has them; else 0."""
    image_id: str | None = None
    """What a table's column of that name calls it."""


def list_pictures(images: Images) -> list[Picture]:
    """Every picture of the source. UserError where there is none, or two for one sample."""
    if images.folder is not None:
        pictures = list(_folder(images.folder))
        where = images.folder
    elif images.parquet is not None:
        pictures = list(_parquet(images.parquet))
        where = images.parquet
    else:
        pictures = list(_huggingface(images))
        where = str(images.huggingface)
    if not pictures:
        raise UserError(
            f"no images found (a folder must be <root>/<model>/<prompt>/<seed>.png): {where}"
        )
    seen: dict[tuple[str, str, int], str] = {}
    for picture in pictures:
        key = (picture.model, picture.prompt, picture.seed)
        if key in seen:
            raise UserError(
                f"one image per model, prompt and seed, got two: {seen[key]} and {picture.source}"
            )
        seen[key] = picture.source
    return pictures


def match_prompts(prompts: list[str], suffix: str, found: set[str]) -> dict[str, str]:
    """For each prompt, the found text that matches it, where there is one.

    The text is the prompt as it was sent (with the suffix) or as a raypipe run keeps it (without).
    File systems do not take every character, so else texts match if their letters and digits do.
    No text matches two prompts.
    """
    matches: dict[str, str] = {}
    free = set(found)
    for key in (str, letters):
        for end in (suffix, ""):
            by_key = {key(text): text for text in sorted(free, reverse=True) if key(text)}
            for prompt in prompts:
                text = by_key.get(key(prompt + end))
                if prompt not in matches and text in free:
                    matches[prompt] = text
                    free.remove(text)
    return matches


def check_seeds(seeds_of: dict[str, set[int]]) -> list[int]:
    """The seeds that all models share. UserError, naming the missing ones, where they differ."""
    every = set().union(*seeds_of.values())
    missing = {model: sorted(every - seeds) for model, seeds in seeds_of.items() if every - seeds}
    if missing:
        listed = "; ".join(
            f"{model} is missing {', '.join(map(str, seeds[:5]))}{' ...' if len(seeds) > 5 else ''}"
            for model, seeds in missing.items()
        )
        raise UserError(f"all models must have images of the same seeds: {listed}")
    return sorted(every)


def letters(text: str) -> str:
    """The part of a text that every file system keeps: its letters and digits, in one case."""
    return re.sub(r"\W|_", "", text).casefold()


def _folder(root: str) -> Iterator[Picture]:
    for below, source, size in walk(root, "image folder"):
        if not below.lower().endswith(SUFFIXES):
            continue
        check_file(source, size)
        parts = below.split("/")
        stem = parts[-1].rpartition(".")[0]
        if len(parts) != 3 or not (stem.isascii() and stem.isdecimal()):
            raise UserError(f"an image must lie at <root>/<model>/<prompt>/<seed>.png, got {below}")
        yield Picture(parts[0], parts[1], int(stem), source, size)


def _parquet(uri: str) -> Iterator[Picture]:
    dataset = open_parquet(uri, "Parquet images", ("model", "prompt", IMAGE_ID))
    needed = ["model", "prompt", "seed", "image"]
    absent = [name for name in needed if name not in dataset.schema.names]
    if absent:
        raise UserError(f"Parquet images need columns {needed}, {uri} is missing {absent}")
    kind = dataset.schema.field("image").type
    if not (pa.types.is_binary(kind) or pa.types.is_large_binary(kind)):
        raise UserError(f"Parquet images must be encoded bytes, got {kind}: {uri}")
    columns = [*needed[:3], *(name for name in (IMAGE_ID,) if name in dataset.schema.names)]
    for source, record in list_rows(dataset, columns, "Parquet images", uri):
        yield _picture(record, source)


def _huggingface(images: Images) -> Iterator[Picture]:
    dataset = open_dataset(str(images.huggingface), images.revision, images.split)
    absent = [n for n in ("model", "prompt", "seed", "image") if n not in dataset.column_names]
    if absent:
        raise UserError(
            f"{images.huggingface} has no columns {absent}; it has {dataset.column_names}"
        )
    check_paths(dataset, "image", str(images.huggingface))
    known = [n for n in ("model", "prompt", "seed", IMAGE_ID) if n in dataset.column_names]
    for row, record in enumerate(dataset.select_columns(known)):
        yield _picture(record, str(row))


def _picture(record: dict[str, Any], source: str) -> Picture:
    """A row of a table with the columns model, prompt and seed."""
    model, prompt, seed = record["model"], record["prompt"], record["seed"]
    if not (isinstance(model, str) and isinstance(prompt, str) and isinstance(seed, int)):
        raise UserError(
            "an image's model and prompt must be text and its seed a whole number, "
            f"got {model!r:.80}, {prompt!r:.80}, {seed!r:.80} at {source}"
        )
    image_id = record.get(IMAGE_ID)
    return Picture(model, prompt, seed, source, 0, None if image_id is None else str(image_id))


def seeds_by_model(pictures: list[Picture]) -> dict[str, set[int]]:
    """The seeds of each model's pictures."""
    seeds: dict[str, set[int]] = defaultdict(set)
    for picture in pictures:
        seeds[picture.model].add(picture.seed)
    return dict(seeds)


def check_file(source: str, size: int) -> None:
    """UserError for a listed picture that cannot be opened: by its name, or its size in bytes."""
    try:
        check_address(source)
    except ValueError as error:
        raise UserError(str(error)) from None
    if size > PICTURE:
        raise UserError(f"a picture must have at most {PICTURE:,} bytes, got {size:,}: {source}")


def read_file(source: str, root: str) -> bytes | None:
    """The content of a file below a folder; None where there is none, or the source is empty."""
    if not source:
        return None
    if not is_below(absolute(source), root):
        raise UserError(f"the source of a picture must be below {root}, got {source}")
    filesystem, path = open_uri(source)
    try:
        return read_whole(filesystem, path, PICTURE)
    except FileNotFoundError:
        return None


class PictureReader:
    """Encoded pictures by their sources; None for one that is not there."""

    def __init__(self, images: Images):
        self._read: Callable[[Sequence[str]], list[bytes | None]]
        if images.folder is not None:
            root = absolute(images.folder)
            self._read = lambda sources: [
                data for _, data in read_ahead(sources, partial(read_file, root=root))
            ]
        elif images.parquet is not None:
            self._read = ParquetPictures(images.parquet, "image")
        else:
            self._read = DatasetPictures(str(images.huggingface), images.revision, images.split)

    def __call__(self, sources: Sequence[str]) -> list[bytes | None]:
        """The bytes of each, in order."""
        return self._read(sources)
