"""The rows of a plan, in a file of their own, and compared with what was made of them."""

import uuid
from collections.abc import Iterable, Sequence

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq


def content(schema: pa.Schema, groups: Iterable[pa.Table], epoch: int) -> bytes:
    """A Parquet file of a plan, by its row groups, which no other driver's is equal to."""
    names = {"part_id": uuid.uuid4().hex, "epoch": str(epoch)}
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(sink, schema.with_metadata(names), compression="zstd") as writer:
        for group in groups:
            writer.write_table(group.replace_schema_metadata(names), row_group_size=len(group))
    return sink.getvalue().to_pybytes()


def differences(
    made: Sequence[pa.Table], planned: pa.Table, keys: Sequence[str]
) -> tuple[int, int, int]:
    """How many planned rows were not made, were made twice, and how many made were not planned.

    made: tables with the columns `keys`, which identify a row.
    """
    rows = pa.concat_tables([*made, planned.select(keys).slice(0, 0)])
    here, there = key(rows, keys), key(planned, keys)
    missing = pc.sum(pc.invert(pc.is_in(there, here))).as_py() or 0
    foreign = pc.sum(pc.invert(pc.is_in(here, there))).as_py() or 0
    return missing, len(rows) - pc.count_distinct(here, mode="all").as_py(), foreign


def doubled(rows: pa.Table, keys: Sequence[str]) -> str | None:
    """The first of the rows that share all of these columns with another one; None without any.

    >>> doubled(pa.table({"model": ["a", "a", "b"], "id": ["x", "y", "x"]}), ("model", "id"))
    >>> doubled(pa.table({"model": ["a", "a"], "id": ["x", "x"]}), ("model", "id"))
    'model a, id x'
    """
    names = key(rows, keys)
    if pc.count_distinct(names, mode="all").as_py() == len(rows):
        return None
    counts = pc.value_counts(names)
    first = counts.filter(pc.greater(counts.field("counts"), 1))[0]
    values = str(first["values"].as_py()).split("\n", len(keys) - 1)
    return ", ".join(f"{name} {value[:80]}" for name, value in zip(keys, values, strict=True))


def key(rows: pa.Table, names: Sequence[str]) -> pa.ChunkedArray:
    """What identifies each row, as one text."""
    return pc.binary_join_element_wise(*(rows[name].cast(pa.string()) for name in names), "\n")
