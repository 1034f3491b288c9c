"""The rows of a file of choices, whatever its format."""

import csv
import io
import json
from typing import Any

import pyarrow.parquet as pq

from raypipe.errors import UserError
from raypipe.storage.files import open_uri, read_text


def rows_of(uri: str) -> list[dict[str, Any]]:
    """Rows of a .parquet, .csv, .json (a list of objects) or .jsonl file. Raises UserError."""
    suffix = uri.rpartition(".")[2].lower()
    if suffix == "parquet":
        return _parquet(uri)
    if suffix not in ("csv", "json", "jsonl"):
        raise UserError(f"choices must be a .parquet, .csv, .json or .jsonl file, got {uri}")
    text = read_text(uri, "file of choices")
    if suffix == "csv":
        return _csv(text, uri)
    try:
        if suffix == "json":
            rows = json.loads(text)
        else:
            rows = [json.loads(line) for line in text.split("\n") if line.strip()]
    except json.JSONDecodeError as error:
        raise UserError(f"file of choices is not valid JSON: {uri}: {error}") from None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise UserError(f"a .json file of choices must be a list of objects: {uri}")
    return rows


def _parquet(uri: str) -> list[dict[str, Any]]:
    filesystem, path = open_uri(uri)
    try:
        return pq.read_table(path, filesystem=filesystem).to_pylist()
    except FileNotFoundError:
        raise UserError(f"file of choices not found: {uri}") from None
    except (OSError, ValueError) as error:
        raise UserError(f"file of choices cannot be read: {uri}: {error}") from None


def _csv(text: str, uri: str) -> list[dict[str, Any]]:
    try:
        rows = list(csv.DictReader(io.StringIO(text, newline=""), strict=True))
    except csv.Error as error:
        raise UserError(f"file of choices is not valid CSV: {uri}: {error}") from None
    for number, row in enumerate(rows, 1):
        if None in row:
            raise UserError(f"row {number} has more cells than the header: {uri}")
    return rows
