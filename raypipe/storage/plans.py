"""The rows of a plan, in a file of their own, each once."""

import uuid
from collections.abc import Iterable, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from raypipe.storage import parquet


def content(schema: pa.Schema, groups: Iterable[pa.Table], epoch: int) -> bytes:
    """A Parquet file of a plan, by its row groups, which no other driver's is equal to."""
    names = {"part_id": uuid.uuid4().hex, "epoch": str(epoch)}
    named = (group.replace_schema_metadata(names) for group in groups)
    return parquet.content(named, schema.with_metadata(names))


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
