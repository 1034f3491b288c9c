"""Writes a trained LoRA in diffusers' layout."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from safetensors.torch import save as to_bytes

from raypipe.files import Folder
from raypipe.models.lora_file import Layer

DIFFUSERS = "lora.safetensors"


@dataclass(frozen=True)
class LoraFacts:
    """What a LoRA is of, and how it was made."""

    base: str
    revision: str | None
    family: str
    """Class of the base's pipeline."""
    pairs: tuple[str, ...]
    loss: str
    steps: int
    rank: int
    licence: str
    trained_on: int
    """Pairs."""
    weights_hash: str
    """Of the base."""


def save(
    folder: Folder, layers: Mapping[str, Layer], facts: LoraFacts, unet_config: Mapping[str, Any]
) -> None:
    """Write `lora.safetensors`; the layers' names are paths in the UNet."""
    tensors = {}
    for path, layer in layers.items():
        tensors[f"unet.{path}.lora_A.weight"] = layer.down.contiguous()
        tensors[f"unet.{path}.lora_B.weight"] = layer.up.contiguous()
    folder.write(DIFFUSERS, to_bytes(tensors, metadata={"raypipe": json.dumps(asdict(facts))}))
