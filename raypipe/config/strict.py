"""Strict configuration: defaults < a YAML file < `a.b=c` on the command line.

A config is a frozen pydantic model. Unknown keys are errors that suggest the near miss, and every
message states the key, the rule and the value.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import pydantic
import yaml
from pydantic_core import InitErrorDetails, PydanticCustomError

from raypipe.config import overrides as set_keys
from raypipe.config.mistakes import explain
from raypipe.config.mistakes import near_miss as near_miss
from raypipe.config.paths import OutputPath, working_directory
from raypipe.config.text import read_file, read_yaml
from raypipe.config.values import check_value
from raypipe.errors import UserError


class Strict(pydantic.BaseModel):
    """A frozen section of a config that refuses unknown keys."""

    model_config = pydantic.ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False
    )

    @pydantic.model_validator(mode="before")
    @classmethod
    def _values_are_plain(cls, value: Any) -> Any:
        """See `check_value`; each mistake at its key."""
        mistakes = []
        for key, item in value.items() if isinstance(value, dict) else ():
            if key in cls.model_fields:
                try:
                    check_value(item, cls.model_fields[key].annotation)
                except ValueError as error:
                    rule = PydanticCustomError("value_error", "{rule}", {"rule": str(error)})
                    mistakes.append(InitErrorDetails(type=rule, loc=(key,), input=item))
        if mistakes:
            raise pydantic.ValidationError.from_exception_data(cls.__name__, mistakes)
        return value


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
    free: ClassVar[frozenset[str]] = frozenset({"output", "pools", "report", "statistics"})
    """Keys that change no picture; what is found is computed again from what is kept."""
    lists: ClassVar[tuple[str, ...]] = ()
    """Keys that may name a file, whose content then belongs to what is asked for."""

    output: OutputPath
    """Run directory: a path, s3:// or gs://."""


C = TypeVar("C", bound=Strict)


def load(path: str | Path, overrides: Sequence[str], kind: type[C], base: Path | None = None) -> C:
    """Read a YAML file, apply `a.b=c` overrides (values are YAML too), and validate.

    base: what relative paths in the file are relative to; None: to the working directory. Raises
    UserError for a file that cannot be read, is no YAML mapping, or breaks a rule.
    """
    tree = _read_tree(Path(path))
    for override in overrides:
        set_keys.apply(tree, override)
    return validate(kind, tree, str(path), base or Path())


def validate(kind: type[C], tree: Any, where: str, base: Path | None = None) -> C:
    """The config that a plain tree holds. UserError that begins with `where` for a broken rule.

    base: as of `load`; None: paths are absolute, or stay as they are.
    """
    try:
        return kind.model_validate(tree, context=None if base is None else {"base": base})
    except pydantic.ValidationError as error:
        raise UserError(f"{where}: " + "; ".join(explain(error, kind))) from None


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


def as_list(value: Any) -> Any:
    """A single value where a list is meant, as a list of one."""
    return [value] if isinstance(value, str | dict) else value


def _read_tree(path: Path) -> dict[str, Any]:
    text = read_file(path)
    try:
        tree = read_yaml(text)
    except (yaml.YAMLError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"config file is not valid YAML: {path}: {reason}") from None
    if not isinstance(tree, dict):
        raise UserError(f"config file must hold a mapping of keys: {path}")
    return tree
