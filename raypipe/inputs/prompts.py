"""Prompt lists and seeds, read and checked on the driver."""

import re
from collections import Counter

from raypipe.core.limits import TEXT
from raypipe.errors import UserError
from raypipe.inputs.rows import rows_of
from raypipe.storage.files import read_text

CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
"""What no keyboard types: control characters but tab and line breaks."""


def read_prompts(source: str | tuple[str, ...], column: str) -> tuple[list[str], list[str]]:
    """Prompts in order, each once, and warnings about what was left out.

    `source` is a list of prompts or a file: .csv, .jsonl and .parquet have the prompt in `column`,
    any other is text with one prompt a line. Blank lines are skipped; a duplicate prompt is kept
    once. UserError for a file without prompts.
    """
    where = source if isinstance(source, str) else "the config's list"
    raw = _read(source, column) if isinstance(source, str) else list(source)
    prompts = [prompt for prompt in raw if prompt.strip()]
    if not prompts:
        raise UserError(f"a prompt list must hold at least one prompt, got none: {where}")
    unique = list(dict.fromkeys(prompts))
    _check(unique, where)
    twice = len(prompts) - len(unique)
    warnings = [f"{twice} duplicate prompts are scored once: {where}"] if twice else []
    return unique, warnings


def _check(prompts: list[str], where: str) -> None:
    """UserError for a prompt that cannot be meant."""
    for prompt in prompts:
        if len(prompt) > TEXT:
            raise UserError(
                f"a prompt must have at most {TEXT:,} characters, got {len(prompt):,}: {where}"
            )
        if any("\ud800" <= letter <= "\udfff" for letter in prompt):
            raise UserError(f"a prompt must be valid Unicode, got {ascii(prompt)[:80]}: {where}")
        if CONTROL.search(prompt):
            raise UserError(
                f"a prompt must not hold control characters, got {ascii(prompt)[:80]}: {where}"
            )


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
    if path.rpartition(".")[2].lower() in ("parquet", "csv", "jsonl"):
        return [_cell(row[column], path) for row in rows_of(path, "prompt file", column)]
    # no other separator than a line's end: a prompt may hold it
    return read_text(path, "prompt file").replace("\r\n", "\n").split("\n")


def _cell(value: object, path: str) -> str:
    """The prompt of a row; "" where the row has none."""
    if value is not None and not isinstance(value, str):
        raise UserError(f"a prompt must be text, got {value!r:.80}: {path}")
    return value or ""
