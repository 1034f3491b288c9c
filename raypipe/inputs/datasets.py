"""Hugging Face data sets of pictures, which may name files: only their own are opened."""

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow.compute as pc

from raypipe.core.address import CONTROL
from raypipe.core.limits import PICTURE
from raypipe.errors import UserError
from raypipe.storage.files import open_uri, read_whole


def open_dataset(identifier: str, revision: str | None, split: str, image: str = "image") -> Any:
    """A Hugging Face data set with the images of one column left encoded.

    UserError for one that cannot be read, or consists of files that are not its own.
    """
    try:
        import datasets
    except ImportError:
        raise UserError(
            "a Hugging Face data set needs the datasets package: pip install datasets"
        ) from None
    if "://" in identifier:
        raise UserError(f"a data set must be an id on the hub or a folder, got {identifier}")
    try:
        builder = datasets.load_dataset_builder(identifier, revision=revision)
        _check_files(builder, identifier)
        dataset = datasets.load_dataset(identifier, revision=revision, split=split)
    except (OSError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise UserError(f"data set cannot be read: {identifier}: {reason}") from None
    if image in dataset.column_names:
        dataset = dataset.cast_column(image, datasets.Image(decode=False))
    return dataset


def check_paths(dataset: Any, image: str, identifier: str) -> None:
    """UserError for a row whose picture is not in it but in a file that is not the data set's."""
    column, roots = dataset.data.column(image), list(_roots(identifier))
    row = 0
    for chunk in column.chunks:
        outside = pc.and_(
            pc.is_null(pc.struct_field(chunk, "bytes")), pc.is_valid(pc.struct_field(chunk, "path"))
        )
        for number in pc.indices_nonzero(outside).to_pylist():
            path = chunk[number]["path"].as_py()
            _inside(path, roots, row + number)
        row += len(chunk)


class DatasetPictures:
    """Encoded pictures of a data set, by the number of their row; for several threads."""

    def __init__(self, identifier: str, revision: str | None, split: str, image: str = "image"):
        self._asked = identifier, revision, split, image
        self._image, self._identifier = image, identifier
        self._lock = threading.Lock()
        self._dataset: Any = None

    def __call__(self, sources: Sequence[str]) -> list[bytes | None]:
        """The bytes of each, in order; None for one that is not there."""
        with self._lock:
            if self._dataset is None:
                self._dataset = open_dataset(*self._asked)
            return [self._bytes(int(row)) if row else None for row in sources]

    def _bytes(self, row: int) -> bytes | None:
        value = self._dataset[row][self._image]
        if value is None or value["bytes"] is not None or not value["path"]:
            return value and value["bytes"]
        path = _inside(value["path"], list(_roots(self._identifier)), row)
        try:
            return read_whole(*open_uri(str(path)), PICTURE)
        except FileNotFoundError:
            return None


def _check_files(builder: Any, identifier: str) -> None:
    """UserError where the files that a data set consists of are not its own."""
    if not Path(identifier).exists():
        own = f"hf://datasets/{identifier}@"
        foreign = [f for f in _files(builder) if not str(f).startswith(own)]
    else:
        roots = [Path(identifier).resolve(), *_snapshot(identifier)]
        foreign = [
            file
            for file in _files(builder)
            if "://" in file or not any(Path(file).resolve().is_relative_to(r) for r in roots)
        ]
    if foreign:
        raise UserError(
            f"the files of a data set must be its own, but {identifier} names {foreign[0]}"
        )


def _files(builder: Any) -> Iterator[str]:
    for files in (builder.config.data_files or {}).values():
        yield from map(str, files)


def _roots(identifier: str) -> Iterator[Path]:
    """Directories in which a data set's pictures may be: its own, and what was unpacked of it."""
    from datasets import config
    from huggingface_hub import constants

    if Path(identifier).exists():
        yield Path(identifier).resolve()
        yield from _snapshot(identifier)
    else:
        yield Path(constants.HF_HUB_CACHE, f"datasets--{identifier.replace('/', '--')}").resolve()
    yield Path(config.EXTRACTED_DATASETS_PATH).resolve()


def _snapshot(folder: str) -> Iterator[Path]:
    """The folder of a repository of the hub's cache, in which a snapshot's links end."""
    path = Path(folder).absolute()
    if path.parent.name == "snapshots" and path.parents[1].name.startswith("datasets--"):
        yield path.parents[1].resolve()


def _inside(path: str, roots: Sequence[Path], row: int) -> Path:
    """The file that a row names, with links followed. UserError unless it is the data set's."""
    if "://" not in path and not CONTROL.search(path):
        found = (roots[0] / path).resolve()
        if any(found.is_relative_to(root) for root in roots):
            return found
    raise UserError(
        "the path of a picture in a data set must lie below the data set's folder, got "
        f"{ascii(path)[:200]} in row {row} ({roots[0]})"
    )
