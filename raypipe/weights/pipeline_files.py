"""Which files of a pipeline's repository are loaded, among all that it holds."""

import re
from collections.abc import Sequence
from typing import Any

SHARD = r"-\d{5}-of-\d{5}"
STEM = r"(diffusion_pytorch_model|pytorch_model|model)"
OTHER_WEIGHTS = (
    *(".bin", ".ckpt", ".pt", ".pth", ".msgpack", ".h5", ".onnx", ".onnx_data", ".pb", ".xml"),
    *(".tflite", ".gguf", ".npz", ".flashpack"),
)
"""Weights in formats that are not loaded; what follows a dot, such as `.bin.index.json`, too."""


def pipeline_files(
    index: dict[str, Any], available: Sequence[str], variant: str | None
) -> list[str]:
    """Names of the files that diffusers loads of a pipeline with safetensors, sorted.

    `index` is model_index.json, `available` are all names. A component without weights of the
    variant is taken without variant. Raises ValueError, whose message is a clause, where a
    component has no safetensors weights, or no component has the variant.
    """
    ignored = index.get("_ignore_files", ())
    names = set(available) - set(ignored if isinstance(ignored, list) else ())
    names = {name for name in names if not name.endswith(".py")}
    chosen = {"model_index.json"} & names
    found_variant = variant is None
    for component in _components(index):
        inside = {n.removeprefix(f"{component}/") for n in names if n.startswith(f"{component}/")}
        weights, of_variant = _weights(inside, variant)
        others = {name for name in inside if _is_weights(name)}
        if others and not weights:
            raise ValueError(f"{component} has no safetensors weights")
        found_variant = found_variant or of_variant
        files = weights | {name for name in inside - others if not weights or _is_config(name)}
        chosen |= {f"{component}/{name}" for name in files}
    if not found_variant:
        raise ValueError(f"no component has weights of variant {variant}")
    return sorted(chosen)


def _components(index: dict[str, Any]) -> list[str]:
    """Names of the components that are loaded: an absent one is listed as [null, null]."""
    parts = {key: value for key, value in index.items() if isinstance(value, list)}
    return [key for key, value in parts.items() if not key.startswith("_") and value[:1] != [None]]


def _weights(names: set[str], variant: str | None) -> tuple[set[str], bool]:
    """A component's safetensors files with their index, and whether they are of the variant."""
    if variant is not None:
        tag = re.escape(variant)
        for files, index in (
            (rf"{STEM}\.{tag}({SHARD})?\.safetensors", rf"{STEM}\.safetensors\.index\.{tag}\.json"),
            (rf"{STEM}{SHARD}\.{tag}\.safetensors", rf"{STEM}\.safetensors\.{tag}\.index\.json"),
        ):
            if found := _matching(names, files):
                return found | _matching(names, index), True
    found = _matching(names, rf"{STEM}({SHARD})?\.safetensors")
    return found | _matching(names, rf"{STEM}\.safetensors\.index\.json"), False


def _matching(names: set[str], pattern: str) -> set[str]:
    return {name for name in names if re.fullmatch(pattern, name)}


def _is_weights(name: str) -> bool:
    """Whether a file holds weights in any format, or is the index of such files."""
    dotted = name.rpartition("/")[2] + "."
    return any(f"{suffix}." in dotted for suffix in (".safetensors", *OTHER_WEIGHTS))


def _is_config(name: str) -> bool:
    return name.endswith(".json")
