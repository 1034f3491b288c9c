"""Strict configuration: defaults < a YAML file < `a.b=c` on the command line.

A config is a frozen pydantic model. Unknown keys are errors that name the near miss, and every
message states the key, the rule and the value.
"""

import difflib
import json
import re
import types
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import pydantic
import yaml

from raypipe.errors import UserError


class Strict(pydantic.BaseModel):
    """A frozen section of a config that refuses unknown keys."""

    model_config = pydantic.ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False
    )


class JobConfig(Strict):
    """What the config of every job has: an output, and which keys a later config may change."""

    extendable: ClassVar[frozenset[str]] = frozenset()
    """Keys under which a later config may ask for more."""
    free: ClassVar[frozenset[str]] = frozenset({"output", "pools", "report"})
    """Keys that change no picture and no number."""
    lists: ClassVar[tuple[str, ...]] = ()
    """Keys that may name a file, whose content then belongs to what is asked for."""

    output: str
    """Run directory: a path, s3:// or gs://."""


C = TypeVar("C", bound=Strict)


def load(path: str | Path, overrides: Sequence[str], kind: type[C]) -> C:
    """Read a YAML file, apply `a.b=c` overrides (values are YAML too), and validate.

    Raises UserError for a file that cannot be read, is no YAML mapping, or breaks a rule.
    """
    tree = _read_yaml(Path(path))
    for override in overrides:
        _apply(tree, override)
    try:
        return kind.model_validate(tree)
    except pydantic.ValidationError as error:
        raise UserError(f"{path}: " + "; ".join(_explain(error, kind))) from None


def dump(config: Strict) -> str:
    """The resolved config as YAML, defaults included."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)


def changes(before: Any, after: Any, prefix: str = "") -> list[str]:
    """Dotted keys whose values differ between two plain trees of a config."""
    if isinstance(before, dict) and isinstance(after, dict):
        keys = [*before, *(key for key in after if key not in before)]
        return [
            change
            for key in keys
            for change in changes(before.get(key), after.get(key), f"{prefix}{key}.")
        ]
    return [] if before == after else [prefix.rstrip(".")]


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"config file cannot be read: {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UserError(f"config file must be UTF-8 text: {path}") from None
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date that does not exist
        where = " ".join(str(error).split())
        raise UserError(f"config file is not valid YAML: {path}: {where}") from None
    if not isinstance(tree, dict):
        raise UserError(f"config file must hold a mapping of keys: {path}")
    return tree


def _apply(tree: dict[str, Any], override: str) -> None:
    """Set one dotted key in place; a number in the key is a position in a list."""
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise UserError(f"an override must look like a.b=c, got {override!r}")
    try:
        value = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError):
        value = text
    node: Any = tree
    *parents, last = key.split(".")
    for part in parents:
        if isinstance(node, list):
            node = _item(node, part, override)
        else:
            if node.get(part) is None:
                node[part] = {}
            node = node[part]
        if not isinstance(node, dict | list):
            raise UserError(f"override {override!r}: {part} is a value, it has no keys")
    if isinstance(node, list):
        _item(node, last, override)
        node[int(last)] = value
    else:
        node[last] = value


def _item(items: list[Any], part: str, override: str) -> Any:
    if not items:
        raise UserError(f"override {override!r}: the list is empty, it has no position {part}")
    if not part.isdecimal() or int(part) >= len(items):
        raise UserError(
            f"override {override!r}: a list of {len(items)} needs a position "
            f"from 0 to {len(items) - 1}, got {part!r}"
        )
    return items[int(part)]


def _explain(error: pydantic.ValidationError, kind: type[Strict]) -> list[str]:
    """One clause for each mistake; the alternatives to one value share a clause."""
    clauses: dict[tuple[str, str], list[str]] = {}
    for problem in error.errors(include_url=False, include_context=False):
        unknown = problem["type"] == "extra_forbidden"
        *parents, last = problem["loc"] or ("",)
        location = [part for part in parents if not _is_union_tag(part)]
        named = [*location, last] if unknown or not _is_union_tag(last) else location
        where = ".".join(map(str, named)) or "config"
        if unknown:
            where = f"unknown key {where}{near_miss(str(last), _fields_at(kind, location))}"
            clauses[where, ""] = []
        elif problem["type"] == "missing":
            clauses[f"missing key {where}", ""] = []
        else:
            clauses.setdefault((f"{where}: ", _got(problem["input"])), []).append(problem["msg"])
    return [where + _either(messages) + got for (where, got), messages in clauses.items()]


def _either(messages: Sequence[str]) -> str:
    """What a value should be, from what each alternative says, in YAML's words."""
    rule = "Input should be "
    plain = [message.removeprefix("Value error, ") for message in messages]
    if len(plain) > 1:
        plain = [message.removeprefix(rule) for message in plain]
        plain[0] = rule + plain[0]
    text = " or ".join(dict.fromkeys(plain)).replace("a valid tuple", "a list")
    return re.sub(r"a valid dictionary or instance of \w+", "a mapping of keys", text)


def _got(value: Any) -> str:
    """The offending value; a rule between several keys names its values itself."""
    if isinstance(value, dict | Strict):
        return ""
    return f", got {json.dumps(value, default=str, ensure_ascii=False)[:200]}"


def _is_union_tag(part: int | str) -> bool:
    """Pydantic adds the name of the tried alternative to a location; users did not write it."""
    return isinstance(part, str) and (part in {"str", "int", "float", "bool"} or "[" in part)


def _fields_at(kind: type[Strict], location: Sequence[int | str]) -> list[str]:
    """Names of the keys that the section at `location` has."""
    for part in location:
        if isinstance(part, int) or part not in kind.model_fields:
            continue
        section = _section(kind.model_fields[part].annotation)
        if section is None:
            return []
        kind = section
    return list(kind.model_fields)


def _section(annotation: Any) -> type[Strict] | None:
    """The config model inside `X`, `X | None`, `tuple[X, ...]`."""
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
        return annotation if issubclass(annotation, Strict) else None
    for argument in typing.get_args(annotation):
        found = _section(argument)
        if found is not None:
            return found
    return None


def near_miss(name: str, known: Sequence[str]) -> str:
    """The end of a message about an unknown name: the one that was meant, or those there are."""
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    if near:
        return f"; did you mean {near[0]}?"
    return f"; known keys are {', '.join(known)}" if known else ""
