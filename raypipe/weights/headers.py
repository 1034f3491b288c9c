"""What files of weights tell without being read: whether they are whole, and their shapes.

Nothing here imports torch.
"""

import math
import struct
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from raypipe.core.limits import FILE, HEADER, parse_json
from raypipe.errors import UserError

BITS = {
    **dict.fromkeys(("F64", "I64", "U64", "C64"), 64),
    **dict.fromkeys(("F32", "I32", "U32"), 32),
    **dict.fromkeys(("F16", "BF16", "I16", "U16"), 16),
    **dict.fromkeys(("I8", "U8", "BOOL", "F8_E4M3", "F8_E5M2", "F8_E8M0"), 8),
}
"""Bits of a number, by safetensors' name of its type; files of other types are not measured."""

Shape = tuple[int, ...]


def read_json(path: Path, what: str) -> dict[str, Any]:
    """A JSON file that holds a mapping. UserError, naming `what` and the file, for any other."""
    try:
        if path.stat().st_size > FILE:
            raise ValueError(f"it has more than {FILE:,} bytes")
        tree = parse_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{what} lacks {path.name}: {path.parent}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{what} has no readable {path.name}: {path}: {error}") from None
    if not isinstance(tree, dict):
        raise UserError(f"{path.name} of {what} must hold a mapping: {path}")
    return tree


def safetensors_shapes(path: Path) -> dict[str, Shape]:
    """Names and shapes of a safetensors file's tensors, from its header alone.

    UserError for any other file, and for one whose length is not what its header says.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            if length > size:
                raise ValueError("the header is longer than the file")
            if length > HEADER:
                raise UserError(
                    f"the header of a safetensors file must have at most {HEADER:,} bytes, got "
                    f"{length:,}: {path}"
                )
            header = parse_json(stream.read(length))
        header.pop("__metadata__", None)
        shapes = {name: tuple(map(int, tensor["shape"])) for name, tensor in header.items()}
        end = max((_end(tensor) for tensor in header.values()), default=0)
    except FileNotFoundError:
        raise UserError(f"file not found: {path}") from None
    except (OSError, ValueError, struct.error, AttributeError, KeyError, TypeError, RecursionError):
        raise UserError(f"a safetensors file was expected, got {path}") from None
    if size != 8 + length + end:
        raise UserError(
            f"a safetensors file must be whole: its header asks for {8 + length + end:,} bytes, it "
            f"has {size:,}: {path}"
        )
    return shapes


def _end(tensor: dict[str, Any]) -> int:
    """Where a tensor's data ends. ValueError unless it has the length of its shape."""
    first, last = tensor["data_offsets"]
    bits = BITS.get(tensor["dtype"])
    if bits is not None and (last - first) * 8 != math.prod(tensor["shape"]) * bits:
        raise ValueError("a tensor's length is not that of its shape")
    return int(last)


def check_weights_file(path: Path, what: str) -> None:
    """UserError unless a file is a whole .safetensors, or what torch.save writes."""
    if not path.is_file():
        raise UserError(f"{what} not found: {path}")
    if path.suffix == ".safetensors":
        safetensors_shapes(path)
        return
    with path.open("rb") as stream:
        first = stream.read(4)
    if first[:1] == b"\x80" and path.stat().st_size > 64:  # a pickle, of a torch before 1.6
        return
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (OSError, ValueError, zipfile.BadZipFile):
        whole = "whole" if first == b"PK\x03\x04" else "what torch.save writes, or .safetensors"
        raise UserError(f"{what} must be {whole}, got {path}") from None
    if not any(name.endswith("data.pkl") for name in names):
        raise UserError(f"{what} must hold nothing but tensors: {path}")


def check_weights_folder(folder: Path, names: Sequence[str], what: str) -> list[Path]:
    """The files of the first glob that matches any, each whole. UserError where none is there."""
    for name in names:
        files = sorted(folder.glob(name))
        for file in files:
            check_weights_file(file, what)
        if files:
            return files
    raise UserError(f"{what} must have weights, {' or '.join(names)}, got none: {folder}")
