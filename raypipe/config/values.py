"""Rules for single values of a config, whatever their key: plain numbers, text without controls."""

import os
import re
import types
import typing
import unicodedata
from typing import Annotated, Any

from pydantic import AfterValidator, Field

Seed = Annotated[int, Field(ge=0, le=2**63 - 1)]
"""Of a random generator, and of a picture's noise; a table's column holds it."""

AnySeed = Annotated[int, Field(ge=-(2**63), le=2**63 - 1)]
"""Of what is drawn by hashes, where a sign does no harm."""

Resamples = Annotated[int, Field(ge=99, le=1_000_000)]
"""Of a bootstrap."""

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]*$", max_length=100)]
"""What tables, and files, call a thing."""


def _each_once(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """ValueError for a value, or a path in two spellings, that a list has twice."""
    seen = set()
    for value in values:
        same = value.rstrip("/") or value if isinstance(value, str) else value
        if isinstance(same, str) and "/" in same and "://" not in same:
            same = os.path.normpath(same)
        if same in seen:
            raise ValueError(f"each may be given once only, given twice: {value}")
        seen.add(same)
    return values


Once = AfterValidator(_each_once)
"""Of a list in which a second mention would count double, or not at all."""

PLAIN = re.compile(r"[-+]?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")
"""How a number may be written where it is given as text, as `1e-5` is in YAML."""

LIKE_A_NUMBER = re.compile(r"\s*[-+]?[0-9][0-9_.,:\'xob\sa-fA-F]*\s*")

YES_OR_NO = frozenset({"yes", "no", "on", "off", "y", "n", "true", "false"})


def check_value(value: Any, annotation: Any) -> None:
    """ValueError, whose message is the rule, for a value that its type would take all the same.

    A truth value is no number, though Python counts with it; `1_0`, `010` and `0x10` are not plain
    numbers; text has no control characters but line feeds and tabs, and no half of a surrogate.
    """
    kinds = _alternatives(annotation)
    wants_number = bool({int, float} & set(kinds)) and bool not in kinds
    if isinstance(value, bool):
        if wants_number:
            raise ValueError("must be a number")
    elif isinstance(value, str):
        check_text(value)
        words = [
            word
            for kind in kinds
            if typing.get_origin(kind) is typing.Literal
            for word in typing.get_args(kind)
        ]
        is_odd = not PLAIN.fullmatch(value) and (str not in kinds or LIKE_A_NUMBER.fullmatch(value))
        if wants_number and is_odd and value not in words:
            raise ValueError("must be a number in plain decimal digits")
    elif isinstance(value, list | tuple):
        inner = [
            item for kind in kinds if typing.get_origin(kind) is tuple
            for item in typing.get_args(kind)
        ]  # fmt: skip
        for number, item in enumerate(value):
            _check_inside(item, inner, f"item {number}")
    elif isinstance(value, dict):
        inner = [typing.get_args(k)[1] for k in kinds if typing.get_origin(k) is dict]
        for key, item in value.items() if inner else ():
            check_text(str(key))
            _check_inside(item, inner, str(key))


def check_text(text: str, allowed: str = "\n\t") -> None:
    """ValueError, which names the first, for control characters other than those allowed."""
    for at, letter in enumerate(text):
        if letter not in allowed and unicodedata.category(letter) in ("Cc", "Cs"):
            raise ValueError(
                f"must hold no control characters, but letter {at + 1} is U+{ord(letter):04X}"
            )


def _check_inside(value: Any, annotations: list[Any], where: str) -> None:
    try:
        for annotation in [a for a in annotations if a is not Ellipsis] or [Any]:
            check_value(value, annotation)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None


def _alternatives(annotation: Any) -> list[Any]:
    """The types of `X | Y | None`, without what pydantic is told of them."""
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        return _alternatives(typing.get_args(annotation)[0])
    if origin in (typing.Union, types.UnionType):
        return [kind for part in typing.get_args(annotation) for kind in _alternatives(part)]
    return [annotation]
