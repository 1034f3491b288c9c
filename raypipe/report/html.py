"""What all pages share: how templates are filled, the style sheet, and pictures inside a page."""

import base64
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent

PICTURES = {b"\x89PNG": "png", b"RIFF": "webp", b"\xff\xd8": "jpeg"}
"""First bytes of the formats that a page may hold."""


def fill(
    folder: Path,
    template: str,
    values: Mapping[str, Any],
    filters: Mapping[str, Callable[..., Any]] | None = None,
) -> str:
    """A template of `folder`, filled in; text is escaped, and a name that is not given raises.

    The style sheet of reports is there as `style`.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"data_uri": data_uri, "svg": Markup, **(filters or {})}
    style = Markup((HERE / "style.css").read_text(encoding="utf-8"))
    return environment.get_template(template).render(style=style, **values)


def data_uri(picture: bytes) -> str:
    """An encoded picture (PNG, JPEG or WebP) as an address that holds it.

    >>> data_uri(b"\\x89PNG")
    'data:image/png;base64,iVBORw=='
    """
    kind = next((kind for start, kind in PICTURES.items() if picture.startswith(start)), None)
    assert kind is not None, "a picture of a page is PNG, JPEG or WebP"
    return f"data:image/{kind};base64,{base64.b64encode(picture).decode()}"
