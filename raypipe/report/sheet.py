"""The report of every job but the consistency job: sentences, facts, tables, figures, pictures."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from raypipe.report.html import fill

MAX_ITEMS = 12
"""Items shown of a long list, such as the prompts of a config."""

MAX_TEXT = 300

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Table:
    """Text in rows; the first column names a row."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""


@dataclass(frozen=True)
class Strip:
    """Pictures side by side, each with a word below."""

    title: str
    pictures: Sequence[tuple[bytes, str]]
    """(encoded picture, caption)."""
    large: bool = False
    """Two to a row, with captions of a line or two, instead of many with a word each."""


@dataclass(frozen=True)
class Section:
    """A part of the page."""

    title: str
    lead: str = ""
    tables: Sequence[Table] = ()
    figures: Sequence[tuple[str, str]] = ()
    """(inline SVG of raypipe.report.figures, caption)."""
    strips: Sequence[Strip] = ()


@dataclass(frozen=True)
class Sheet:
    """A page: what it is about, its finding in sentences, and the parts that show why."""

    eyebrow: str
    title: str
    sentences: Sequence[str]
    facts: Sequence[tuple[str, str]] = ()
    notes: Sequence[str] = ()
    sections: Sequence[Section] = field(default_factory=tuple)


def render(sheet: Sheet, manifest: Mapping[str, Any]) -> str:
    """One self-contained HTML page, with where its numbers come from at its end."""
    values = {"sheet": sheet, "schema_version": manifest.get("schema_version")}
    return fill(HERE, "sheet.html", values | provenance(manifest, ("packages", "counts")))


def provenance(manifest: Mapping[str, Any], parts: Sequence[str]) -> dict[str, Any]:
    """`provenance`, the manifest's run and then its parts as rows, and `config`, for a template."""
    shown = {key: manifest[key] for key in parts if manifest.get(key)}
    run = {key: manifest[key] for key in manifest if key not in shown and key != "config"}
    return {
        "provenance": {key: flatten(value) for key, value in {"run": run, **shown}.items()},
        "config": json.dumps(manifest.get("config"), indent=2, ensure_ascii=False, default=str),
    }


def flatten(value: Any) -> list[tuple[str, str]]:
    """Rows of (dotted key, text) of a JSON-like value; long lists and texts are cut, and marked."""
    return [(key, _cut(text)) for key, text in _walk(value, "")]


def _walk(value: Any, key: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from _walk(item, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list | tuple) and any(isinstance(item, Mapping) for item in value):
        for index, item in enumerate(value[:MAX_ITEMS]):
            name = item.get("name", index) if isinstance(item, Mapping) else index
            yield from _walk(item, f"{key}.{name}" if key else str(name))
        if len(value) > MAX_ITEMS:
            yield key, f"… {len(value):,} in all"
    elif isinstance(value, list | tuple):
        more = f", … {len(value):,} in all" if len(value) > MAX_ITEMS else ""
        yield key, ", ".join(_cut(str(item)) for item in value[:MAX_ITEMS]) + more
    elif value is not None:
        yield key, f"{value:,.1f}" if isinstance(value, float) else str(value)


def _cut(text: str) -> str:
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + "…"
