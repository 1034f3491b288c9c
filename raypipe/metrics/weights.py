"""A metric's weights: fetched to this node, read without running code, loaded completely."""

import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from raypipe.errors import UserError
from raypipe.metrics.settings import Weights
from raypipe.weights.fetch import fetch
from raypipe.weights.retry import one_line
from raypipe.weights.trust import check_folder

NAMED = 3
"""Keys that a message names."""


def weights_file(weights: Weights, what: str) -> Path:
    """The local path of a weights file, fetched if need be. UserError where there is none."""
    files = [weights.file] if weights.file else None
    path = Path(fetch(weights.id, weights.revision, what=what, files=files))
    if path.is_dir() and weights.file:
        path = path / weights.file
    if path.is_dir():
        raise UserError(f"{what} must name a file inside its directory (weights.file): {path}")
    if not path.is_file():
        raise UserError(f"{what} not found: {path}")
    return path


def weights_directory(weights: Weights, what: str, files: Sequence[str]) -> Path:
    """The local directory with the files that match the globs, fetched if need be."""
    path = Path(fetch(weights.id, weights.revision, what=what, files=files))
    if not path.is_dir():
        raise UserError(f"{what} must be a directory or a hub id, got {path}")
    check_folder(path, what)
    return path


def read_state(path: Path, what: str, inside: str | None = None) -> dict[str, torch.Tensor]:
    """Tensors by name, of a .safetensors file or of what torch.save wrote, on the CPU.

    `inside` is the key under which a training script kept them; else the tensors are at the top.
    No code in the file is run. UserError for anything else.
    """
    try:
        if path.suffix == ".safetensors":
            state: Any = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, ValueError, EOFError, KeyError) as error:
        raise UserError(f"{what} cannot be read: {path}: {one_line(error)}") from error
    except (SafetensorError, pickle.UnpicklingError) as error:
        raise UserError(f"{what} must hold nothing but tensors: {path}") from error
    if inside is not None and isinstance(state, dict) and inside in state:
        state = state[inside]
    tensors = isinstance(state, dict) and all(isinstance(v, torch.Tensor) for v in state.values())
    if not tensors or not state:
        raise UserError(f"{what} must hold nothing but tensors: {path}")
    return dict(state)


def load_whole(module: torch.nn.Module, state: dict[str, torch.Tensor], what: str) -> None:
    """Load every tensor of `state` into `module`, as float32 where that is what it has.

    UserError that counts and names the keys that are missing, foreign, or of another shape.
    """
    wanted = module.state_dict()
    wrong = {
        "missing": [key for key in wanted if key not in state],
        "foreign": [key for key in state if key not in wanted],
        "of another shape": [
            key for key in wanted if key in state and state[key].shape != wanted[key].shape
        ],
    }
    clauses = [
        f"{len(keys)} {kind} ({', '.join(keys[:NAMED])}{', ...' * (len(keys) > NAMED)})"
        for kind, keys in wrong.items()
        if keys
    ]
    if clauses:
        raise UserError(f"{what} do not fit their network: keys {', '.join(clauses)}")
    module.load_state_dict(state)
