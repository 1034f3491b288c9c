"""Rows of a file that a user wrote, whatever its format."""

import csv
import io
from collections.abc import Iterator
from typing import Any

from raypipe.core.limits import LINE, parse_json
from raypipe.errors import UserError
from raypipe.inputs.parquet import read_table
from raypipe.storage.files import read_text


def rows_of(uri: str, what: str, column: str | None = None) -> list[dict[str, Any]]:
    """Rows of a .parquet, .csv, .json (a list of objects) or .jsonl file.

    what: the file in the words of a message. column: the one that is needed, which alone is read
    where the format allows it. UserError for a file that cannot be read, or has no such column.
    """
    suffix = uri.rpartition(".")[2].lower()
    if suffix == "parquet":
        return read_table(uri, what, column).to_pylist()
    if suffix not in ("csv", "json", "jsonl"):
        raise UserError(f"a {what} must be .parquet, .csv, .json or .jsonl, got {uri}")
    text = read_text(uri, what)
    rows = _csv(text, uri, what) if suffix == "csv" else _json(text, uri, what, suffix)
    for row in rows if column is not None else []:
        if column not in row:
            raise UserError(f"{what} has no column {column!r}: {uri}: it has {list(row)}")
    return rows


def lines_of(text: str, uri: str, what: str) -> Iterator[tuple[int, str]]:
    """(number from 1, line) of every line that is not blank; lines end in nothing but a line feed.

    UserError for a line beyond the limit.
    """
    for number, line in enumerate(text.split("\n"), 1):
        if len(line) > LINE:
            raise UserError(
                f"a line of a {what} must have at most {LINE:,} characters, got {len(line):,}: "
                f"{uri}, line {number}"
            )
        if line.strip():
            yield number, line


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
    parts = lines_of(text, uri, what) if suffix == "jsonl" else [(1, text)] if text.strip() else []
    values = [_value(part, uri, what, number) for number, part in parts]
    rows = values[0] if suffix == "json" and values else values
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        rule = "be a list of objects" if suffix == "json" else "hold an object on each line"
        raise UserError(f"a .{suffix} {what} must {rule}: {uri}")
    return rows


def _value(text: str, uri: str, what: str, line: int) -> Any:
    try:
        return parse_json(text)
    except ValueError as error:
        at = line + getattr(error, "lineno", 1) - 1
        reason = getattr(error, "msg", str(error))
        raise UserError(f"{what} is not valid JSON: {uri}, line {at}: {reason}") from None
