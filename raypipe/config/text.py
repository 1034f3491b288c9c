"""YAML as configs hold it: its size known before it is built, its keys once, its words literal.

Of YAML 1.1's ways to write a number or a truth only the plain ones are read as such: `10`, `1.5`,
`true`, `null`. `1_0`, `010`, `0x10`, `1:30`, `yes`, `on` and dates are text, which a field of
numbers then refuses. (A field of true and false takes `yes` and `on` too.)
"""

import re
import stat
from pathlib import Path
from typing import Any

import yaml

from raypipe.errors import UserError

MAX_BYTES = 4_000_000
"""Of a config file; lists of prompts and seeds have files of their own."""
MAX_DEPTH = 32
"""Lists and mappings inside one another, in files and in the keys of overrides."""
MAX_VALUES = 200_000
"""Values of a config, each alias (`*a`) counted as all that it stands for."""


class RefusedError(ValueError):
    """YAML that is too large, too deep or endless, or ambiguous: its message is a clause."""


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """Safe YAML with the plain words alone resolved."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - PyYAML's own registry


for _tag, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?(?:0|[1-9][0-9]{0,39})", list("-+0123456789")),
    (
        "float",
        r"[-+]?(?:(?:0|[1-9][0-9]*)\.[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?"
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        list("-+0123456789."),
    ),
    ("merge", r"<<", ["<"]),
):
    _name, _whole = f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$")
    _Loader.add_implicit_resolver(_name, _whole, _first)


def read_file(path: Path, what: str = "config file") -> str:
    """A small regular file's text. UserError, naming `what`, for any other and for no UTF-8."""
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            kind = "a directory" if stat.S_ISDIR(found.st_mode) else "a pipe or a device"
            raise UserError(f"{what} must be a file, got {kind}: {path}")
        if found.st_size > MAX_BYTES:
            raise UserError(
                f"{what} must have at most {MAX_BYTES:,} bytes, got {found.st_size:,}: {path}"
            )
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{what} must be UTF-8 text: {path}: byte {error.start} is not") from None
    except ValueError:  # a NUL in its name
        raise UserError(f"{what} not found: {str(path)!r}") from None
    except OSError as error:
        raise UserError(f"{what} cannot be read: {path}: {error.strerror}") from None


def read_yaml(text: str) -> Any:
    """The value that YAML holds.

    Raises yaml.YAMLError or ValueError for what is no YAML; among the latter RefusedError for what
    breaks one of the limits above, has a key twice, or has tags.
    """
    _check_size(text)
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        _check_keys(node)
        return _unshared(loader.construct_document(node))
    finally:
        loader.dispose()


def _unshared(value: Any) -> Any:
    """The same value without parts in common: an override changes what it names alone."""
    if isinstance(value, dict):
        return {key: _unshared(item) for key, item in value.items()}
    return [_unshared(item) for item in value] if isinstance(value, list) else value


def _check_size(text: str) -> None:
    """RefusedError by the text's events alone, before anything is built of it."""
    if len(text) > MAX_BYTES:
        raise RefusedError(f"it must have at most {MAX_BYTES:,} letters, got {len(text):,}")
    anchors: dict[str, tuple[int, int]] = {}
    """Values and depth of what each anchor stands for."""
    above: list[tuple[str | None, int, int]] = [(None, 0, 0)]
    """Of the lists and mappings that are open: anchor, values and depth so far."""
    for event in yaml.parse(text, Loader=_Loader):
        if getattr(event, "tag", None):
            raise RefusedError(f"{_line(event)}: tags are not read, got {event.tag[:80]}")
        if isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent):
            above.append((event.anchor, 1, 1))
            size, depth = 0, 1
        elif isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
            anchor, size, depth = above.pop()
            if anchor is not None:
                anchors[anchor] = size, depth
        elif isinstance(event, yaml.ScalarEvent):
            size, depth = 1, 0
            if event.anchor is not None:
                anchors[event.anchor] = size, depth
        elif isinstance(event, yaml.AliasEvent):
            if event.anchor not in anchors:
                raise RefusedError(f"{_line(event)}: *{event.anchor} must stand for what is above")
            size, depth = anchors[event.anchor]
        else:
            continue
        if len(above) - 1 + depth > MAX_DEPTH + 1:
            raise RefusedError(f"{_line(event)} is more than {MAX_DEPTH} levels deep")
        if isinstance(event, yaml.CollectionStartEvent):
            continue
        anchor, values, deepest = above[-1]
        above[-1] = anchor, values + size, max(deepest, depth + 1)
        if values + size > MAX_VALUES:
            raise RefusedError(f"{_line(event)}: it must hold at most {MAX_VALUES:,} values")


def _line(event: yaml.Event) -> str:
    return f"line {event.start_mark.line + 1}"


def _check_keys(root: yaml.Node) -> None:
    """RefusedError for a key that a mapping has twice, of which the last would win."""
    waiting, seen = [root], {id(root)}
    while waiting:
        node = waiting.pop()
        children: list[yaml.Node] = []
        if isinstance(node, yaml.SequenceNode):
            children = node.value
        elif isinstance(node, yaml.MappingNode):
            lines: dict[tuple[str, str], int] = {}
            for key, value in node.value:
                children.append(value)
                if not isinstance(key, yaml.ScalarNode):
                    continue
                line, known = key.start_mark.line + 1, (key.tag, key.value)
                if known in lines:
                    raise RefusedError(
                        f"key {key.value[:80]} is given twice, in lines {lines[known]} and {line}"
                    )
                lines[known] = line
        waiting += [child for child in children if id(child) not in seen]
        seen.update(map(id, children))
