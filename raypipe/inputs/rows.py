"""Rows of a file that a user wrote, whatever its format."""

import csv
import io
import json
from typing import Any

import pyarrow.parquet as pq

from raypipe.errors import UserError
from raypipe.storage.files import open_uri, read_text


def rows_of(uri: str, what: str, column: str | None = None) -> list[dict[str, Any]]:
    """Rows of a .parquet, .csv, .json (a list of objects) or .jsonl file.

    what: the file in the words of a message. column: the one that is needed, which alone is read
    where the format allows it. UserError for a file that cannot be read, or has no such column.
    """
    suffix = uri.rpartition(".")[2].lower()
    if suffix == "parquet":
        return _parquet(uri, what, column)
    if suffix not in ("csv", "json", "jsonl"):
        raise UserError(f"a {what} must be .parquet, .csv, .json or .jsonl, got {uri}")
    text = read_text(uri, what)
    rows = _csv(text, uri, what) if suffix == "csv" else _json(text, uri, what, suffix)
    for row in rows if column is not None else []:
        if column not in row:
            raise UserError(f"{what} has no column {column!r}: {uri}: it has {list(row)}")
    return rows


def _parquet(uri: str, what: str, column: str | None) -> list[dict[str, Any]]:
    filesystem, path = open_uri(uri)
    try:
        names = pq.read_schema(path, filesystem=filesystem).names
        if column is not None and column not in names:
            raise UserError(f"{what} has no column {column!r}: {uri}: it has {names}")
        columns = None if column is None else [column]
        return pq.read_table(path, filesystem=filesystem, columns=columns).to_pylist()
    except FileNotFoundError:
        raise UserError(f"{what} not found: {uri}") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{what} cannot be read: {uri}: {error}") from None


def _csv(text: str, uri: str, what: str) -> list[dict[str, Any]]:
    try:
        rows = list(csv.DictReader(io.StringIO(text, newline=""), strict=True))
    except csv.Error as error:
        raise UserError(f"{what} is not valid CSV: {uri}: {error}") from None
    for number, row in enumerate(rows, 1):
        if None in row:
            raise UserError(f"row {number} has more cells than the header: {uri}")
    return rows


def _json(text: str, uri: str, what: str, suffix: str) -> list[dict[str, Any]]:
    # lines end in nothing but a line feed: a text may hold every other separator
    parts = [text] if suffix == "json" else text.split("\n")
    values = [_value(part, uri, what, n) for n, part in enumerate(parts, 1) if part.strip()]
    rows = values[0] if suffix == "json" and values else values
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        rule = "be a list of objects" if suffix == "json" else "hold an object on each line"
        raise UserError(f"a .{suffix} {what} must {rule}: {uri}")
    return rows


def _value(text: str, uri: str, what: str, line: int) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        at = line + error.lineno - 1
        raise UserError(f"{what} is not valid JSON: {uri}, line {at}: {error.msg}") from None
