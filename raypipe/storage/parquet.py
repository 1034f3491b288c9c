"""Parquet files that know when they have changed: digests of all their bytes, inside the file.

    PAR1 | column chunks | GAP | footer | length of the footer, PAR1

The gap holds a digest of every column chunk and one of the footer with what follows it. A reader of
Parquet finds the footer from the end, and the chunks by their positions in it: it never looks at
the gap, so that the file opens everywhere. We look, and check what we read: the footer, and the
chunks of the columns that are wanted, so that a table of pictures gives its other columns without
the pictures being fetched. Of each bit that changes, the digest no longer fits.

A file without digests (raypipe 0.1, or another program) is read as it is.
"""

import hashlib
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from raypipe.storage.damage import DamagedError, reading
from raypipe.storage.files import Folder
from raypipe.storage.pieces import Pieces, bytes_of

KEY = b"raypipe.digests"
"""In the footer's metadata: that the file has them."""

BEGIN, END = b"raypipe digests>", b"<digests raypipe"
"""Around the digests of the gap."""

SIZE = 16
"""Bytes of a digest (BLAKE2b)."""

TAIL = 8
"""Bytes behind the footer: its length, and the format's name."""

MAGIC = b"PAR1"

AT_ONCE = 2**17
"""Bytes at the end of a file that are fetched at first; a smaller file is fetched whole."""


@dataclass(frozen=True)
class Chunk:
    """Where one column of one row group lies in the file."""

    group: int
    path: str
    """The column; of a list or struct, which has several, with what it stands for behind a dot."""
    start: int
    size: int

    def is_of(self, column: str) -> bool:
        """Whether it may be of this column: names may have dots too."""
        return self.path == column or self.path.startswith(f"{column}.")


def write(folder: Folder, name: str, groups: Iterable[pa.Table], schema: pa.Schema) -> None:
    """Write a file of `content`."""
    folder.write(name, content(groups, schema))


def content(groups: Iterable[pa.Table], schema: pa.Schema) -> bytes:
    """Tables as the row groups of one Parquet file, with digests.

    schema: theirs, with the metadata that is kept.
    """
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(sink, schema, compression="zstd") as writer:
        for table in groups:
            writer.write_table(table, row_group_size=max(1, len(table)))
        writer.add_key_value_metadata({KEY.decode(): "blake2b"})
    return seal(sink.getvalue())


def seal(data: pa.Buffer) -> bytes:
    """A Parquet file with the digests of its bytes put before its footer."""
    whole = memoryview(data)
    footer = _footer_start(whole[-TAIL:], len(whole))
    metadata = pq.read_metadata(pa.BufferReader(data))
    found = chunks(metadata)
    edges = [len(MAGIC), *(chunk.start + chunk.size for chunk in found)]
    assert [*edges] == [*(chunk.start for chunk in found), footer], "chunks follow each other"
    digests = [_digest(whole[chunk.start : chunk.start + chunk.size]) for chunk in found]
    gap = b"".join([BEGIN, *digests, _digest(whole[footer:]), END])
    return b"".join([whole[:footer], gap, whole[footer:]])


def read(
    folder: Folder,
    name: str,
    columns: Sequence[str] | None = None,
    schema: pa.Schema | None = None,
) -> pa.Table:
    """A table of a run, or some of its columns. DamagedError for a file that has changed.

    schema: that the columns must have.
    """
    return ParquetFile(folder, name).read(columns, schema=schema)


class ParquetFile:
    """A Parquet file of a run whose bytes are checked as they are read.

    DamagedError, which names the file, for one that is not there, is none, or has changed.
    """

    def __init__(self, folder: Folder, name: str):
        self._uri, self._name = folder.uri, name
        try:
            self._file = folder.open(name)
            self._size = self._file.size()
            # a window: (its start, its bytes)
            self._end = self._fetch(max(0, self._size - AT_ONCE), self._size)
        except FileNotFoundError:
            raise self._damaged("is missing") from None
        if self._size < len(MAGIC) + TAIL or bytes(self._end[1][-4:]) != MAGIC:
            raise self._damaged(f"must be a whole Parquet file, got {self._size:,} bytes")
        self._footer = _footer_start(self._end[1][-TAIL:], self._size)
        if self._footer < len(MAGIC):
            raise self._damaged("must be a whole Parquet file, but its end has changed")
        self._read_footer()

    @property
    def sealed(self) -> bool:
        """Whether the file has digests."""
        return self._digests is not None

    def read(
        self,
        columns: Sequence[str] | None = None,
        groups: Sequence[int] | None = None,
        schema: pa.Schema | None = None,
    ) -> pa.Table:
        """Columns of some row groups; None: of all."""
        known = self.schema.names
        absent = [column for column in columns or () if column not in known]
        if absent:
            raise self._damaged(f"must have the column {absent[0]}, got {', '.join(known)}"[:300])
        wanted = [
            (index, chunk)
            for index, chunk in enumerate(self._chunks)
            if (columns is None or any(map(chunk.is_of, columns)))
            and (groups is None or chunk.group in groups)
        ]
        if columns is None and groups is None:
            self._end = self._end if self._end[0] == 0 else self._fetch(0, self._size)
        pieces = [self._end]
        for start, end in _runs([chunk for _, chunk in wanted]):
            if start < self._end[0]:
                pieces.append(self._fetch(start, end))
        for index, chunk in wanted:
            self._check(index, chunk, bytes_of(pieces, chunk.start, chunk.size))
        numbers = list(range(self.metadata.num_row_groups) if groups is None else groups)
        with reading(self._uri, self._name, "a whole Parquet file"):
            source: Any = (
                pa.BufferReader(pa.py_buffer(self._end[1]))
                if self._end[0] == 0
                else pa.PythonFile(Pieces(pieces, self._size), "r")
            )
            file = pq.ParquetFile(source, metadata=self.metadata, pre_buffer=False)
            names = None if columns is None else list(columns)
            table = file.read_row_groups(numbers, columns=names)
        return table if schema is None else self._typed(table, schema)

    def check(self) -> None:
        """Read everything. DamagedError where any bit has changed, or where it cannot be read."""
        whole = self._fetch(0, self._size)
        with reading(self._uri, self._name, "a whole Parquet file"):
            if bytes(whole[1][: len(MAGIC)]) != MAGIC:
                raise self._damaged("has changed since it was written: its first bytes")
            for index, chunk in enumerate(self._chunks):
                self._check(index, chunk, bytes_of([whole], chunk.start, chunk.size))
            if not self.sealed:
                pq.read_table(pa.BufferReader(pa.py_buffer(whole[1])))

    def _read_footer(self) -> None:
        """Fill `metadata`, `schema`, and what the gap says."""
        footer = self._bytes(self._footer, self._size)
        has_end = self._footer > len(END) and (
            bytes(self._bytes(self._footer - len(END), self._footer)) == END
        )
        if has_end:
            expected = self._bytes(self._footer - len(END) - SIZE, self._footer - len(END))
            if _digest(footer) != expected:
                raise self._damaged("has changed since it was written: its footer")
        elif END in bytes(self._end[1]):  # the footer's length has changed
            raise self._damaged("has changed since it was written: its last bytes")
        with reading(self._uri, self._name, "a whole Parquet file"):
            self.metadata = pq.read_metadata(pa.BufferReader(_standalone(footer)))
            self.schema = self.metadata.schema.to_arrow_schema()
            self._chunks = chunks(self.metadata)
            promised = KEY in (self.metadata.metadata or {})
        self._digests: list[bytes] | None = None
        if has_end:
            self._digests = self._gap()
        elif promised:
            raise self._damaged("has changed since it was written: its digests")

    def _gap(self) -> list[bytes]:
        """The digests of the chunks."""
        n = len(self._chunks)
        start = self._footer - len(END) - SIZE * (n + 1) - len(BEGIN)
        gap = bytes(self._bytes(start, self._footer)) if start >= len(MAGIC) else b""
        if not gap.startswith(BEGIN):
            raise self._damaged("has changed since it was written: its digests")
        first = len(BEGIN)
        return [gap[first + SIZE * i : first + SIZE * (i + 1)] for i in range(n)]

    def _check(self, index: int, chunk: Chunk, data: memoryview) -> None:
        if len(data) != chunk.size:
            raise self._damaged(f"must be a whole Parquet file: column {chunk.path} is cut off")
        if self._digests is not None and _digest(data) != self._digests[index]:
            raise self._damaged(f"has changed since it was written: column {chunk.path}")

    def _typed(self, table: pa.Table, schema: pa.Schema) -> pa.Table:
        for field in table.schema:
            if field.name in schema.names and field.type != schema.field(field.name).type:
                raise self._damaged(
                    f"must have the column {field.name} as {schema.field(field.name).type}, got "
                    f"{field.type}"
                )
        return table

    def _bytes(self, start: int, end: int) -> memoryview:
        """Bytes near the end of the file."""
        if start < self._end[0]:
            self._end = self._fetch(start, self._size)
        return self._end[1][start - self._end[0] : end - self._end[0]]

    def _fetch(self, start: int, end: int) -> tuple[int, memoryview]:
        self._file.seek(start)
        return start, memoryview(self._file.read(end - start))

    def _damaged(self, rule: str) -> DamagedError:
        return DamagedError(self._uri, self._name, rule)


def chunks(metadata: pq.FileMetaData) -> list[Chunk]:
    """The column chunks of a file, in order."""
    found = []
    for group in range(metadata.num_row_groups):
        row_group = metadata.row_group(group)
        for index in range(row_group.num_columns):
            column = row_group.column(index)
            starts = [column.data_page_offset, column.dictionary_page_offset]
            start = min(place for place in starts if place)
            found.append(Chunk(group, column.path_in_schema, start, column.total_compressed_size))
    return found


def _runs(wanted: Sequence[Chunk]) -> list[tuple[int, int]]:
    """(start, end) of chunks that follow each other, each to be fetched at once."""
    runs: list[tuple[int, int]] = []
    for chunk in wanted:
        if runs and runs[-1][1] == chunk.start:
            runs[-1] = runs[-1][0], chunk.start + chunk.size
        else:
            runs.append((chunk.start, chunk.start + chunk.size))
    return runs


def _standalone(footer: memoryview) -> pa.Buffer:
    """A footer as a file of its own, to be parsed."""
    return pa.py_buffer(MAGIC + bytes(footer))


def _footer_start(tail: memoryview, size: int) -> int:
    """Where the footer begins, by the last bytes of a file of this size; negative for nonsense."""
    (length,) = struct.unpack("<I", tail[:4])
    return int(size - TAIL - length)


def _digest(data: memoryview) -> bytes:
    return hashlib.blake2b(data, digest_size=SIZE).digest()
