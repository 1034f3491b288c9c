"""Strict configuration: defaults < a YAML file < `a.b=c` on the command line.

A config is a frozen pydantic model. Unknown keys are errors that suggest the near miss, and every
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

from raypipe.config.paths import FilePath, typed, working_directory
from raypipe.errors import UserError


class Strict(pydantic.BaseModel):
    """A frozen section of a config that refuses unknown keys."""

    model_config = pydantic.ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False
    )


def require_one(section: Strict, names: Sequence[str]) -> None:
    """ValueError unless exactly one of these keys is given."""
    given = [name for name in names if getattr(section, name) is not None]
    if len(given) != 1:
        raise ValueError(
            f"exactly one of {', '.join(names)} must be given, got {' and '.join(given) or 'none'}"
        )


class JobConfig(Strict):
    """What the config of every job has: an output, and which keys a later config may change."""

    extendable: ClassVar[frozenset[str]] = frozenset()
    """Keys under which a later config may ask for more."""
    free: ClassVar[frozenset[str]] = frozenset({"output", "pools", "report"})
    """Keys that change no picture and no number."""
    lists: ClassVar[tuple[str, ...]] = ()
    """Keys that may name a file, whose content then belongs to what is asked for."""

    output: FilePath
    """Run directory: a path, s3:// or gs://."""


C = TypeVar("C", bound=Strict)


def load(path: str | Path, overrides: Sequence[str], kind: type[C], base: Path | None = None) -> C:
    """Read a YAML file, apply `a.b=c` overrides (values are YAML too), and validate.

    base: what relative paths in the file are relative to; None: to the working directory. Raises
    UserError for a file that cannot be read, is no YAML mapping, or breaks a rule.
    """
    tree = _read_yaml(Path(path))
    for override in overrides:
        _apply(tree, override)
    try:
        return kind.model_validate(tree, context={"base": base or Path()})
    except pydantic.ValidationError as error:
        raise UserError(f"{path}: " + "; ".join(_explain(error, kind))) from None


def dump(config: Strict) -> str:
    """The resolved config as YAML, defaults included."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)


def absolute(config: C) -> C:
    """The same config with every path absolute, so that it holds from any working directory."""
    tree = config.model_dump(mode="json")
    return type(config).model_validate(tree, context={"base": working_directory()})


def changes(before: Any, after: Any, prefix: str = "") -> list[str]:
    """Dotted keys whose values differ between two plain trees of a config."""
    if isinstance(before, dict) and isinstance(after, dict):
        keys = [*before, *(key for key in after if key not in before)]
        return [
            change
            for key in keys
            for change in changes(before.get(key), after.get(key), f"{prefix}{key}.")
        ]
    return [] if _same(before, after) else [prefix.rstrip(".")]


def _same(before: Any, after: Any) -> bool:
    """Whether two values are equal, or one path seen from the working directory."""
    if isinstance(before, list) and isinstance(after, list):
        return len(before) == len(after) and all(map(_same, before, after))
    if before == after or not (isinstance(before, str) and isinstance(after, str)):
        return bool(before == after)
    return "://" not in before + after and Path(before).absolute() == Path(after).absolute()


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
        value = typed(yaml.safe_load(text))
    except (yaml.YAMLError, ValueError):
        value = typed(text)
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
    for problem in error.errors(include_url=False):
        *parents, last = problem["loc"] or ("",)
        location, known = _place(kind, parents)
        if problem["type"] == "extra_forbidden":
            where = ".".join(map(str, [*location, last]))
            clauses[f"unknown key {where}{near_miss(str(last), known)}", ""] = []
            continue
        location, _ = _place(kind, problem["loc"])
        where = ".".join(map(str, location)) or "config"
        if problem["type"] == "missing":
            clauses[f"missing key {where}", ""] = []
        elif problem["type"] in ("union_tag_invalid", "union_tag_not_found"):
            clauses[_unknown_kind(where, problem["ctx"]), ""] = []
        else:
            clauses.setdefault((f"{where}: ", _got(problem["input"])), []).append(problem["msg"])
    return [where + _either(messages) + got for (where, got), messages in clauses.items()]


def _unknown_kind(where: str, context: dict[str, Any]) -> str:
    """The message for a section of several kinds whose discriminating key names no known kind."""
    key = str(context["discriminator"]).strip("'")
    if "tag" not in context:
        return f"missing key {where}.{key}"
    known = re.findall(r"'([^']*)'", context["expected_tags"])
    near = near_miss(context["tag"], known).replace("known keys", "those known")
    return f"{where}: unknown {key} {context['tag']}{near}"


def _either(messages: Sequence[str]) -> str:
    """What a value should be, from the message of each alternative, in YAML's words."""
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


def _place(kind: type[Strict], parts: Sequence[int | str]) -> tuple[list[int | str], list[str]]:
    """What of pydantic's location the user wrote, and the keys that the section there has."""
    written: list[int | str] = []
    sections = [kind]
    for part in parts:
        if _is_union_tag(part):
            continue
        chosen = [section for section in sections if part in _literals(section)]
        if len(sections) > 1 and chosen:
            sections = chosen
            continue
        written.append(part)
        fields = [s.model_fields[part] for s in sections if part in s.model_fields]
        if fields:
            sections = _sections(fields[0].annotation)
    return written, [name for section in sections for name in section.model_fields]


def _literals(section: type[Strict]) -> list[Any]:
    """What the keys of a section that take one value only hold: its kind is among them."""
    literal = [f for f in section.model_fields.values() if typing.get_origin(f.annotation)]
    return [f.default for f in literal if typing.get_args(f.annotation) == (f.default,)]


def _sections(annotation: Any) -> list[type[Strict]]:
    """The config models inside `X`, `X | None`, `tuple[X, ...]`, `X | Y`."""
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
        return [annotation] if issubclass(annotation, Strict) else []
    return [found for part in typing.get_args(annotation) for found in _sections(part)]


def near_miss(name: str, known: Sequence[str]) -> str:
    """The end of a message about an unknown name: the one that was meant, or those there are."""
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    if near:
        return f"; did you mean {near[0]}?"
    return f"; known keys are {', '.join(known)}" if known else ""


def as_list(value: Any) -> Any:
    """A single value where a list is meant, as a list of one."""
    return [value] if isinstance(value, str | dict) else value
