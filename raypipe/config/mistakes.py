"""What pydantic found wrong with a config, in YAML's words: key, rule, value."""

import difflib
import json
import re
import types
import typing
from collections.abc import Sequence
from typing import Any

import pydantic

SHOWN = 200
"""Letters of a value that a message shows."""
MOST = 10
"""Mistakes that a message names."""
READ = 1000
"""Mistakes that are read; the rest is only counted."""
UNION_TAGS = {"str", "int", "float", "bool", "constrained-int", "constrained-float"}
"""What pydantic calls the alternatives that are values."""


def explain(error: pydantic.ValidationError, kind: type[pydantic.BaseModel]) -> list[str]:
    """One clause for each mistake; the alternatives to one value share a clause.

    kind: the config's model, whose sections name the keys that are known.
    """
    clauses: dict[tuple[str, str], list[str]] = {}
    problems = error.errors(include_url=False)
    for problem in _plainest(problems[:READ], kind):
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
            clauses.setdefault((f"{where}: ", _got(problem)), []).append(_rule(problem))
    found = [where + _either(messages) + got for (where, got), messages in clauses.items()]
    more = len(found) - MOST + max(0, len(problems) - READ)
    return found if more <= 0 else [*found[:MOST], f"and {more} more mistakes"]


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


def _plainest(problems: Sequence[Any], kind: type[pydantic.BaseModel]) -> list[Any]:
    """Without what other alternatives to a value say where one of them fits it but for a part."""
    places = [tuple(_place(kind, problem["loc"])[0]) for problem in problems]
    lengths = {p for p, problem in zip(places, problems, strict=True) if _is_length(problem)}
    wholes = {place[:end] for place in places for end in range(len(place))}
    kept = []
    for place, problem in zip(places, problems, strict=True):
        is_other = place in lengths and not _is_length(problem)
        is_of_a_key = problem["type"] in ("missing", "extra_forbidden")
        if is_of_a_key or not (place in wholes or is_other):
            kept.append(problem)
    return kept


def _is_length(problem: Any) -> bool:
    return problem["type"] in ("too_short", "too_long")


def _rule(problem: Any) -> str:
    """What pydantic says of a value, or plainer words."""
    context, kind = problem.get("ctx", {}), problem["type"]
    if _is_length(problem):
        bound = context["min_length" if kind == "too_short" else "max_length"]
        most = "at least" if kind == "too_short" else "at most"
        given = context["actual_length"]
        return f"must hold {most} {bound}, got {'more' if given is None else given or 'none'}"
    return str(problem["msg"]).removesuffix(", got a number with a fractional part")


def _got(problem: Any) -> str:
    """The offending value; a rule between several keys, or of a length, has named it itself."""
    value = problem["input"]
    if isinstance(value, dict | pydantic.BaseModel) or _is_length(problem):
        return ""
    return f", got {shown(value)}"


def shown(value: Any) -> str:
    """A value as JSON, cut to SHOWN letters while it is written."""
    if isinstance(value, str):
        value = value[: SHOWN + 1]
    written = ""
    for piece in json.JSONEncoder(ensure_ascii=False, default=str).iterencode(value):
        written += piece
        if len(written) > SHOWN:
            return f"{written[:SHOWN]}..."
    return written


def _is_union_tag(part: int | str) -> bool:
    """Pydantic adds the name of the tried alternative to a location; users did not write it."""
    return isinstance(part, str) and (part in UNION_TAGS or "[" in part)


def _place(
    kind: type[pydantic.BaseModel], parts: Sequence[int | str]
) -> tuple[list[int | str], list[str]]:
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


def _literals(section: type[pydantic.BaseModel]) -> list[Any]:
    """What the keys of a section that take one value only hold: its kind is among them."""
    literal = [f for f in section.model_fields.values() if typing.get_origin(f.annotation)]
    return [f.default for f in literal if typing.get_args(f.annotation) == (f.default,)]


def _sections(annotation: Any) -> list[type[pydantic.BaseModel]]:
    """The config models inside `X`, `X | None`, `tuple[X, ...]`, `X | Y`."""
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
        return [annotation] if issubclass(annotation, pydantic.BaseModel) else []
    return [found for part in typing.get_args(annotation) for found in _sections(part)]


def near_miss(name: str, known: Sequence[str]) -> str:
    """The end of a message about an unknown name: the one that was meant, or those there are."""
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    if near:
        return f"; did you mean {near[0]}?"
    return f"; known keys are {', '.join(known)}" if known else ""
