"""How large what others wrote may be: docs/security.md lists these limits."""

import json
from typing import Any

FILE = 2**28
"""Bytes of a text or JSON file, which is read as a whole."""
LINE = 2**20
"""Characters of a line of JSON or of a metadata file; bytes of a caption in a shard."""
TEXT = 2**14
"""Characters of a prompt or caption."""
DEPTH = 64
"""Levels of lists and objects in JSON."""
HEADER = 2**25
"""Bytes of the header of a safetensors file."""
ROWS = 2**24
"""Rows of a table, and values of one of its columns."""
TABLE = 2**30
"""Bytes of a table's columns once unpacked; of the pictures in a row group of Parquet."""
PICTURE = 2**28
"""Bytes of an encoded picture."""
PIXELS = 80_000_000
"""Of a picture: below the 89 million from which Pillow warns."""
SCANS = 100
"""Passes of a progressive JPEG, each of which costs as much as all pixels; encoders write ten."""


def parse_json(text: str | bytes) -> Any:
    """The value of a JSON text. ValueError for what is none, or is nested more than DEPTH deep.

    >>> parse_json('{"a": [1]}')
    {'a': [1]}
    """
    try:
        value = json.loads(text)
    except RecursionError:
        raise _too_deep() from None
    brackets = text.count("[") + text.count("{") if isinstance(text, str) else len(text)
    if brackets > DEPTH and _depth(value) > DEPTH:
        raise _too_deep()
    return value


def _too_deep() -> ValueError:
    return ValueError(f"it is nested more than {DEPTH} levels deep")


def _depth(value: Any) -> int:
    """Levels of lists and objects, at most one more than DEPTH."""
    depth, level = 0, [value]
    while depth <= DEPTH:
        nested = [item for item in level if isinstance(item, dict | list)]
        if not nested:
            break
        depth += 1
        level = [x for item in nested for x in (item.values() if isinstance(item, dict) else item)]
    return depth
