"""Prompt lists and seeds, read and checked on the driver."""

import re
from collections import Counter

from raypipe.config.values import check_text
from raypipe.core.limits import TEXT
from raypipe.errors import UserError
from raypipe.inputs.rows import rows_of
from raypipe.storage.files import read_text

MOST_SEEDS = 100_000
"""Of a run; a count in a config has the same end."""


def read_prompts(source: str | tuple[str, ...], column: str) -> tuple[list[str], list[str]]:
    """Prompts in order, each once, and warnings about what was left out.

    `source` is a list of prompts or a file: .csv, .jsonl and .parquet have the prompt in `column`,
    any other is text with one prompt a line. Blank lines are skipped; a duplicate prompt is kept
    once. UserError for a file without prompts.
    """
    where = source if isinstance(source, str) else "the config's list"
    raw = _read(source, column) if isinstance(source, str) else list(source)
    for number, prompt in enumerate(raw, 1):
        _check_letters(
            prompt,
            f"prompt in line {number}" if where.endswith(".txt") else f"prompt {number}",
            where,
        )
    prompts = [prompt for prompt in raw if prompt.strip()]
    if not prompts:
        raise UserError(f"a prompt list must hold at least one prompt, got none: {where}")
    unique = list(dict.fromkeys(prompts))
    longest = max(map(len, unique))
    if longest > TEXT:
        raise UserError(f"a prompt must have at most {TEXT:,} characters, got {longest:,}: {where}")
    twice = len(prompts) - len(unique)
    warnings = [f"{twice} duplicate prompts are scored once: {where}"] if twice else []
    lines = [prompt for prompt in unique if "\n" in prompt]
    if lines and str(source).lower().endswith(".csv"):
        warnings.append(
            f"{len(lines)} prompts hold a line break, as where a quote is not closed: the first is "
            f"{lines[0][:60]!r}: {where}"
        )
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
    if len(seeds) > MOST_SEEDS:
        raise UserError(f"there may be {MOST_SEEDS:,} seeds, got {len(seeds):,}")
    repeated = [seed for seed, times in Counter(seeds).items() if times > 1]
    if repeated:
        raise UserError(f"seeds must differ, given twice: {', '.join(map(str, repeated))}")
    outside = [seed for seed in seeds if not 0 <= seed < 2**63]
    if outside:
        raise UserError(f"a seed must be from 0 to 2^63 - 1, got {outside[0]}")
    return seeds


def _check_letters(prompt: str, what: str, where: str) -> None:
    """UserError for halves of surrogates and control characters, which no tokenizer is made for."""
    if prompt.isprintable():
        return
    if any("\ud800" <= letter <= "\udfff" for letter in prompt):
        raise UserError(f"a prompt must be valid Unicode, got {ascii(prompt)[:80]}: {where}")
    try:
        check_text(prompt)
    except ValueError as error:
        raise UserError(f"{what} {error} ({ascii(prompt)[:80]}): {where}") from None


def _seed(text: str, where: str) -> int:
    if not re.fullmatch(r"-?(0|[1-9][0-9]{0,30})", text):
        raise UserError(
            f"a seed must be a whole number in plain digits, got {text[:80]!r}: {where}"
        )
    return int(text)


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
