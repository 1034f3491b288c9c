"""The report of every job but the consistency job: sentences, facts, tables, figures, pictures."""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from raypipe.report.facts import flatten

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
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"data_uri": data_uri, "svg": Markup}
    parts = {key: manifest[key] for key in ("packages", "counts") if manifest.get(key)}
    run = {key: manifest[key] for key in manifest if key not in parts and key != "config"}
    return environment.get_template("sheet.html").render(
        sheet=sheet,
        provenance={key: flatten(value) for key, value in {"run": run, **parts}.items()},
        config=json.dumps(manifest.get("config"), indent=2, ensure_ascii=False, default=str),
        schema_version=manifest.get("schema_version"),
        style=Markup((HERE / "style.css").read_text(encoding="utf-8")),
    )


def data_uri(picture: bytes) -> str:
    """An encoded picture as an address that holds it.

    >>> data_uri(b"\\x89PNG")
    'data:image/png;base64,iVBORw=='
    """
    kinds = {b"\x89PNG": "png", b"RIFF": "webp", b"\xff\xd8\xff": "jpeg"}
    kind = next((name for start, name in kinds.items() if picture.startswith(start)), "png")
    return f"data:image/{kind};base64,{base64.b64encode(picture).decode()}"
