"""Models of others are weights and settings, never code: what names code is refused here.

The libraries refuse most of it too, but which of it depends on their version. Nothing here imports
them.
"""

import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from raypipe.errors import UserError
from raypipe.weights.headers import read_json

INDEX = "model_index.json"

LIBRARIES = frozenset({"diffusers", "transformers"})
"""Whose classes a pipeline may consist of, besides the modules of diffusers' own pipelines."""

CLASS = re.compile(r"[A-Z][A-Za-z0-9_]*")

CODE_KEYS = frozenset(
    {"auto_map", "_module", "custom_pipeline", "custom_pipelines", "trust_remote_code"}
)
"""Keys of a config by which a library would import what a model brings with it."""

CONFIGS = ("config.json", "*_config.json", INDEX)
"""Names of the files that may have them."""


def check_folder(folder: Path, what: str) -> None:
    """UserError for a directory of weights that brings code, or names some in its configs.

    what: the weights in the words of a message.
    """
    for file in sorted(folder.rglob("*.py")):
        raise UserError(f"{what} must have no code of its own, got {file}")
    for file in sorted({path for name in CONFIGS for path in folder.rglob(name)}):
        config = read_json(file, what)
        if file.name == INDEX:
            check_index(config, what, str(file))
        elif file.name == "adapter_config.json" and file.parent != folder:
            raise UserError(f"{what} must hold whole networks, got an adapter: {file}")
        else:
            check_config(config, what, str(file))


def check_index(index: dict[str, Any], what: str, where: str) -> None:
    """UserError unless a model_index.json names classes of diffusers and transformers alone.

    where: the file in the words of a message.
    """
    check_config(index, what, where)
    _check_class("_class_name", index.get("_class_name"), what, where)
    for name, value in index.items():
        if not isinstance(value, list) or name.startswith("_"):
            continue
        if not re.fullmatch(r"\w+", name) or len(value) != 2:
            raise UserError(
                f"a component of {what} must be [library, class], got {name!a:.80}: "
                f"{value!a:.80}: {where}"
            )
        library, kind = value
        if library is None and kind is None:
            continue
        if not isinstance(library, str) or library not in LIBRARIES | pipeline_modules():
            raise UserError(
                f"the components of {what} must be of diffusers or transformers, got {name} of "
                f"{library!a:.80}: {where}"
            )
        _check_class(name, kind, what, where)


def check_config(config: Any, what: str, where: str) -> None:
    """UserError for a config, of any file, with a key that names code, at any depth."""
    left = [config]
    while left:
        value = left.pop()
        if isinstance(value, dict):
            for key in CODE_KEYS & value.keys():
                if value[key]:
                    raise UserError(
                        f"{what} must have no code of its own, got {key} = {value[key]!a:.80}: "
                        f"{where}"
                    )
            left += value.values()
        elif isinstance(value, list):
            left += value


@cache
def pipeline_modules() -> frozenset[str]:
    """Names of the modules of diffusers' pipelines, which components may be of as well."""
    spec = find_spec("diffusers")
    assert spec is not None
    assert spec.origin is not None
    folders = Path(spec.origin).with_name("pipelines").iterdir()
    return frozenset(folder.name for folder in folders if (folder / "__init__.py").is_file())


def _check_class(key: str, name: Any, what: str, where: str) -> None:
    if not isinstance(name, str) or not CLASS.fullmatch(name):
        raise UserError(f"{key} of {what} must be the name of a class, got {name!a:.80}: {where}")
