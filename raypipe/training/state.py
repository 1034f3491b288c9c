"""Checkpoints of a training in its run directory: written whole, the newest and the best kept.

A checkpoint is one file of tensors (safetensors) beside one of numbers (JSON), written first and
last: where the numbers are, the tensors are whole.
"""

import json
from dataclasses import dataclass, field
from typing import Any

import torch
from safetensors.torch import load, save

from raypipe.storage.files import Folder

FOLDER = "checkpoints"


@dataclass
class Checkpoint:
    """Everything that a training needs to continue."""

    step: int
    """Steps done."""
    tensors: dict[str, torch.Tensor]
    """Parameters and the optimiser's state, by name."""
    notes: dict[str, Any] = field(default_factory=dict)
    """Numbers, for JSON."""

    @property
    def weights(self) -> dict[str, torch.Tensor]:
        """The trained parameters: averaged where there is an average."""
        names = [key for key in self.tensors if key.startswith("average/")]
        names = names or [key for key in self.tensors if key.startswith("weight/")]
        return {key.partition("/")[2]: self.tensors[key] for key in names}


def write(folder: Folder, checkpoint: Checkpoint) -> None:
    """Write a checkpoint; one of the same step is replaced."""
    name = f"{FOLDER}/{checkpoint.step:08d}"
    tensors = {key: value.detach().cpu().contiguous() for key, value in checkpoint.tensors.items()}
    folder.write(f"{name}.safetensors", save(tensors))
    folder.write(f"{name}.json", json.dumps({"step": checkpoint.step, **checkpoint.notes}).encode())


def steps(folder: Folder) -> list[int]:
    """Steps of the complete checkpoints, in order."""
    names = folder.names(FOLDER)
    return [int(n.removesuffix(".json")) for n in names if n.endswith(".json")]


def read(folder: Folder, step: int) -> Checkpoint:
    """The checkpoint of a step."""
    name = f"{FOLDER}/{step:08d}"
    notes, tensors = folder.read(f"{name}.json"), folder.read(f"{name}.safetensors")
    if notes is None or tensors is None:
        raise FileNotFoundError(f"{folder.uri}/{name}")
    return Checkpoint(step, load(tensors), json.loads(notes))


def put_back(folder: Folder, step: int, module: torch.nn.Module) -> None:
    """Give a module the trained parameters of a step."""
    with torch.no_grad():
        for name, weights in read(folder, step).weights.items():
            module.get_parameter(name).copy_(weights)


def prune(folder: Folder, newest: int, best: int | None) -> None:
    """Delete all but the newest few and the best one."""
    there = steps(folder)
    for step in there[:-newest]:
        if step != best:
            folder.delete(f"{FOLDER}/{step:08d}.json")
            folder.delete(f"{FOLDER}/{step:08d}.safetensors")
