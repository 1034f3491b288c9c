"""Prompt lists and seeds, read and checked on the driver."""

import csv
import io
import json
from collections import Counter

import pyarrow.parquet as pq

from raypipe.errors import UserError
from raypipe.storage.files import open_uri, read_text


def read_prompts(source: str | tuple[str, ...], column: str) -> tuple[list[str], list[str]]:
    """Prompts in order, each once, and warnings about what was left out.

    `source` is a list of prompts or a file: .csv, .jsonl and .parquet have the prompt in `column`,
    any other is text with one prompt a line. Blank lines are skipped; a prompt that comes twice is
    kept once. UserError for a file without prompts.
    """
    where = source if isinstance(source, str) else "the config's list"
    raw = _read(source, column) if isinstance(source, str) else list(source)
    prompts = [prompt for prompt in raw if prompt.strip()]
    if not prompts:
        raise UserError(f"a prompt list must hold at least one prompt, got none: {where}")
    unique = list(dict.fromkeys(prompts))
    for prompt in unique:
        if any("\ud800" <= letter <= "\udfff" for letter in prompt):
            raise UserError(f"a prompt must be valid Unicode, got {ascii(prompt)[:80]}: {where}")
    twice = len(prompts) - len(unique)
    warnings = [f"{twice} duplicate prompts are scored once: {where}"] if twice else []
    return unique, warnings


def read_seeds(source: int | tuple[int, ...] | str) -> list[int]:
    """Seeds from a count (0, 1, ...), a list, or a file with one a line; at least two."""
    if isinstance(source, int):
        seeds = list(range(source))
    elif isinstance(source, str):
        seeds = [_seed(line, source) for line in read_text(source, "seed file").split()]
    else:
        seeds = list(source)
    if len(seeds) < 2:
        raise UserError(f"a consistency score needs at least 2 seeds, got {len(seeds)}")
    repeated = [seed for seed, times in Counter(seeds).items() if times > 1]
    if repeated:
        raise UserError(f"seeds must differ, given twice: {', '.join(map(str, repeated))}")
    outside = [seed for seed in seeds if not 0 <= seed < 2**63]
    if outside:
        raise UserError(f"a seed must be from 0 to 2^63 - 1, got {outside[0]}")
    return seeds


def _seed(text: str, where: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise UserError(f"a seed must be a whole number, got {text!r}: {where}") from None


def _read(path: str, column: str) -> list[str]:
    suffix = path.rpartition(".")[2].lower()
    if suffix == "parquet":
        return _parquet_column(path, column)
    text = read_text(path, "prompt file")
    if suffix == "csv":
        try:
            rows = list(csv.DictReader(io.StringIO(text, newline="")))
        except csv.Error as error:
            raise UserError(f"prompt file is not valid CSV: {path}: {error}") from None
        return [_cell(row, column, path) for row in rows]
    lines = text.replace("\r\n", "\n").split("\n")  # no other separator: a prompt may hold it
    if suffix == "jsonl":
        return [_cell(_json(line, path), column, path) for line in lines if line.strip()]
    return lines


def _parquet_column(path: str, column: str) -> list[str]:
    filesystem, inner = open_uri(path)
    try:
        names = pq.read_schema(inner, filesystem=filesystem).names
        if column not in names:
            raise UserError(f"prompt file has no column {column!r}: {path}: it has {names}")
        table = pq.read_table(inner, filesystem=filesystem, columns=[column])
    except (OSError, ValueError) as error:
        raise UserError(f"prompt file cannot be read: {path}: {error}") from None
    return [_cell(row, column, path) for row in table.to_pylist()]


def _json(line: str, path: str) -> dict[str, object]:
    try:
        row = json.loads(line)
    except json.JSONDecodeError:
        raise UserError(f"prompt file has a line that is not JSON: {path}: {line[:80]}") from None
    if not isinstance(row, dict):
        raise UserError(f"each line of a .jsonl prompt file must be an object: {path}")
    return row


def _cell(row: dict[str, object], column: str, path: str) -> str:
    """The prompt of a row; "" where the row has none."""
    if column not in row:
        raise UserError(f"prompt file has no column {column!r}: {path}: it has {list(row)}")
    value = row[column]
    if value is not None and not isinstance(value, str):
        raise UserError(f"a prompt must be text, got {value!r:.80}: {path}")
    return value or ""
