"""`a.b=c`: one key of a config, set on the command line."""

from typing import Any

import yaml

from raypipe.config.mistakes import SHOWN
from raypipe.config.paths import typed
from raypipe.config.text import MAX_DEPTH, RefusedError, read_yaml
from raypipe.config.values import check_text
from raypipe.errors import UserError


def apply(tree: dict[str, Any], override: str) -> None:
    """Set one dotted key in place; a number in the key is a position in a list.

    UserError for one that fits nowhere. A value that is no YAML is text.
    """
    key, equals, text = override.partition("=")
    shown = repr(override[:SHOWN])
    if not equals or not key:
        raise UserError(f"an override must look like a.b=c, got {shown}")
    try:
        check_text(override, allowed="")
    except ValueError as error:
        raise UserError(f"override {shown}: {error}") from None
    *parents, last = key.split(".", MAX_DEPTH + 1)
    if len(parents) > MAX_DEPTH:
        raise UserError(f"an override is at most {MAX_DEPTH} keys deep, got {shown}")
    if not all((*parents, last)):
        raise UserError(f"an override must look like a.b=c, without an empty key, got {shown}")
    try:
        value = typed(read_yaml(text))
    except RefusedError as error:
        raise UserError(f"override {shown}: {error}") from None
    except (yaml.YAMLError, ValueError):
        value = typed(text)
    node: Any = tree
    for part in parents:
        if isinstance(node, list):
            node = _item(node, part, shown)
        else:
            if node.get(part) is None:
                node[part] = {}
            node = node[part]
        if not isinstance(node, dict | list):
            raise UserError(f"override {shown}: {part} is a value, it has no keys")
    if isinstance(node, list):
        _item(node, last, shown)
        node[int(last)] = value
    else:
        node[last] = value


def _item(items: list[Any], part: str, shown: str) -> Any:
    if not items:
        raise UserError(f"override {shown}: the list is empty, it has no position {part}")
    is_number = part.isascii() and part.isdecimal() and len(part) < 10
    if not is_number or int(part) >= len(items):
        raise UserError(
            f"override {shown}: a list of {len(items)} needs a position "
            f"from 0 to {len(items) - 1}, got {part[:SHOWN]!r}"
        )
    return items[int(part)]
