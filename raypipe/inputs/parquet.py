"""Parquet files of others, read within limits: a small file may hold a large table.

A value may stand in a file once and in its table a million times, so texts are read as
dictionaries, and sizes are added up before anything is unpacked.
"""

import threading
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import accumulate, groupby
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads
import pyarrow.parquet as pq

from raypipe.core.limits import ROWS, TABLE, TEXT
from raypipe.errors import UserError
from raypipe.storage.files import open_uri, storage_errors

LISTED = 4096
"""Rows of a batch while a source is listed."""

WIDEST = 256
"""Bits of a value that is no text: those of the largest decimal."""

READ = 4
"""Pictures of a batch while a row group is read."""


def read_table(uri: str, what: str, column: str | None) -> pa.Table:
    """A file's column, or every column of texts or numbers where it is None.

    Texts are dictionaries. what: the file in the words of a message. UserError for a file that
    cannot be read, has no such column, or is beyond a limit.
    """
    filesystem, path = open_uri(uri)
    try:
        schema = pq.read_schema(path, filesystem=filesystem)
        if column is not None and column not in schema.names:
            raise UserError(f"{what} has no column {column!r}: {uri}: it has {schema.names}")
        columns = [f.name for f in schema if _is_plain(f.type) and column in (None, f.name)]
        if column is not None and not columns:
            raise UserError(
                f"column {column!r} of a {what} must hold texts or numbers, got "
                f"{schema.field(column).type}: {uri}"
            )
        texts = [name for name in columns if _is_text(schema.field(name).type)]
        file = pq.ParquetFile(path, filesystem=filesystem, read_dictionary=texts)
        _check_footer(file.metadata, columns, what, uri)
        batches, size = [], 0
        for batch in file.iter_batches(batch_size=2**16, columns=columns):
            size += sum(map(_unpacked, batch.columns))
            _check(size, TABLE, "bytes once unpacked", what, uri)
            batches.append(batch)
        empty = file.schema_arrow.empty_table().select(columns)
        return pa.Table.from_batches(batches, empty.schema)
    except FileNotFoundError:
        raise UserError(f"{what} not found: {uri}") from None
    except (OSError, ValueError, NotImplementedError) as error:
        raise UserError(f"{what} cannot be read: {uri}: {error}") from None


def open_dataset(uri: str, what: str, texts: Sequence[str]) -> pads.Dataset:
    """A file or a directory of files, whose columns `texts` are read as dictionaries.

    what: the files in the words of a message. UserError where they cannot be read.
    """
    filesystem, path = open_uri(uri)
    options = pads.ParquetReadOptions(dictionary_columns=list(texts))
    kind = pads.ParquetFileFormat(read_options=options)
    try:
        with storage_errors(uri):
            return pads.dataset(path, filesystem=filesystem, format=kind)
    except (OSError, ValueError) as error:
        raise UserError(f"{what} cannot be read: {uri}: {error}") from None


def list_rows(
    dataset: pads.Dataset, columns: Sequence[str], what: str, uri: str
) -> Iterator[tuple[str, dict[str, Any]]]:
    """(file#row, values of the columns) of every row.

    UserError beyond a limit, or for columns of neither texts nor numbers.
    """
    rows = size = 0
    for name in columns:
        if not _is_plain(kind := dataset.schema.field(name).type):
            raise UserError(
                f"column {name!r} of {what} must hold texts or numbers, got {kind}: {uri}"
            )
    try:
        for fragment in dataset.get_fragments():
            row = 0
            for batch in fragment.to_batches(columns=list(columns), batch_size=LISTED):
                rows += len(batch)
                size += sum(map(_unpacked, batch.columns))
                _check(rows, ROWS, "rows", what, uri)
                _check(size, TABLE, "bytes of texts and numbers", what, uri)
                longest = max([0, *map(_longest, batch.columns)])
                _check(longest, 4 * TEXT, "bytes in a text", what, fragment.path)
                for record in batch.to_pylist() if columns else [{}] * len(batch):
                    yield f"{fragment.path}#{row}", record
                    row += 1
    except (OSError, ValueError) as error:
        raise UserError(f"{what} cannot be read: {uri}: {error}") from None


class ParquetPictures:
    """Encoded pictures of a column, by `file#row`; for several threads."""

    def __init__(self, uri: str, column: str):
        self._filesystem, self._root = open_uri(uri)
        self._column = column
        self._lock = threading.Lock()
        self._group = lru_cache(1)(self._read_group)  # batches are neighbours: it serves several

    def __call__(self, sources: Sequence[str]) -> list[bytes | None]:
        """The bytes of each, in order; None for one that is not there."""
        found: list[bytes | None] = []
        for path, some in groupby(sources, key=lambda source: source.rpartition("#")[0]):
            rows = [int(source.rpartition("#")[2] or -1) for source in some]
            found += self._rows(path, rows) if path else [None] * len(rows)
        return found

    def _rows(self, path: str, rows: list[int]) -> list[bytes | None]:
        inside = PurePosixPath(path).is_relative_to(self._root)
        if not inside or ".." in PurePosixPath(path).parts:
            raise UserError(f"the source of a picture must be in {self._root}, got {path}")
        try:
            metadata = pq.read_metadata(path, filesystem=self._filesystem)
        except FileNotFoundError:
            return [None] * len(rows)
        except (OSError, ValueError) as error:
            raise UserError(f"Parquet pictures cannot be read: {path}: {error}") from None
        sizes = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
        ends = list(accumulate(sizes))
        found: list[bytes | None] = []
        for row in rows:
            group = int(np.searchsorted(ends, row, side="right"))
            if group == len(sizes):
                found.append(None)
                continue
            with self._lock:
                pictures = self._group(path, group)
            found.append(pictures[row - ends[group] + sizes[group]])
        return found

    def _read_group(self, path: str, group: int) -> list[bytes | None]:
        """The pictures of a row group, a few unpacked at a time. UserError beyond the limit."""
        found: list[bytes | None] = []
        size = 0
        try:
            file = pq.ParquetFile(path, filesystem=self._filesystem)
            for batch in file.iter_batches(READ, row_groups=[group], columns=[self._column]):
                size += batch.nbytes
                what = "pictures of a row group"
                _check(size, TABLE, "bytes", what, f"{path}, row group {group}")
                found += map(_bytes, batch[self._column].to_pylist())
        except (OSError, ValueError) as error:
            raise UserError(f"Parquet pictures cannot be read: {path}: {error}") from None
        return found


def _bytes(value: bytes | dict | None) -> bytes | None:
    """A picture of a column, which may hold it in a struct."""
    return value.get("bytes") if isinstance(value, dict) else value


def _is_text(kind: pa.DataType) -> bool:
    """Whether a column holds texts or bytes, which Parquet does not tell apart."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return kind in (
        *(pa.string(), pa.large_string(), pa.string_view()),
        *(pa.binary(), pa.large_binary(), pa.binary_view()),
    )


def _is_plain(kind: pa.DataType) -> bool:
    """Whether a column holds texts, or values of one small size."""
    if _is_text(kind) or pa.types.is_null(kind):
        return True
    try:
        return not pa.types.is_dictionary(kind) and kind.bit_width <= WIDEST
    except ValueError:  # lists and other kinds without a size of their own
        return False


def _check_footer(metadata: pq.FileMetaData, columns: list[str], what: str, uri: str) -> None:
    """UserError for a file that is beyond a limit by its own account."""
    _check(metadata.num_rows, ROWS, "rows", what, uri)
    size = 0
    for group in map(metadata.row_group, range(metadata.num_row_groups)):
        for column in map(group.column, range(group.num_columns)):
            if column.path_in_schema.partition(".")[0] in columns:
                size += column.total_uncompressed_size
                _check(column.num_values, ROWS, "values in a column", what, uri)
    _check(size, TABLE, "bytes once unpacked", what, uri)


def _unpacked(column: pa.Array) -> int:
    """Bytes of a column whose dictionary is unpacked."""
    if not pa.types.is_dictionary(column.type):
        return column.nbytes
    lengths = pc.binary_length(column.dictionary).cast(pa.int64())
    return pc.sum(lengths.take(column.indices)).as_py() or 0


def _longest(column: pa.Array) -> int:
    """Bytes of the longest text of a column."""
    if not pa.types.is_dictionary(column.type):
        return 0
    return pc.max(pc.binary_length(column.dictionary)).as_py() or 0


def _check(value: int, most: int, unit: str, what: str, uri: str) -> None:
    if value > most:
        raise UserError(f"{what} must have at most {most:,} {unit}, got {value:,}: {uri}")
