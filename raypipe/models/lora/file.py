"""Reads a LoRA's file: two matrices for each layer that it changes."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from raypipe.config.model import Lora
from raypipe.core.limits import parse_json
from raypipe.errors import UserError
from raypipe.weights.locate import lora_file
from raypipe.weights.lora_names import DOWN


@dataclass(frozen=True)
class Layer:
    """One changed layer: its weight W becomes W + scale · up @ down."""

    down: torch.Tensor
    """(rank, inputs), or (rank, inputs, height, width) of a convolution."""
    up: torch.Tensor
    """(outputs, rank), times alpha / rank; or (outputs, rank, 1, 1)."""


def read_lora(lora: Lora, model_name: str) -> dict[str, Layer]:
    """The file's layers by the names that it has for them, its alphas multiplied in.

    Raises UserError for a file that cannot be read or holds keys of no known layout.
    """
    file = lora_file(lora) or _download(lora)
    what = f"the LoRA of model {model_name} does not fit it"
    try:
        with safe_open(file, "pt") as stream:
            tensors = {key: stream.get_tensor(key) for key in stream.keys()}  # noqa: SIM118
            training = _training(Path(file), stream.metadata() or {})
    except (OSError, SafetensorError, TypeError, ValueError) as error:
        raise UserError(f"the LoRA of model {model_name} cannot be read: {file}: {error}") from None
    layers: dict[str, Layer] = {}
    for key in [key for key in tensors if key.endswith(DOWN)]:
        ending = next(ending for ending in DOWN if key.endswith(ending))
        name = key.removesuffix(ending)
        up_key = name + ending.replace("lora_A", "lora_B").replace("down", "up")
        if up_key not in tensors:
            raise UserError(f"{what}: {key} comes without {up_key}")
        down, up = tensors.pop(key), tensors.pop(up_key)
        alpha = tensors.pop(f"{name}.alpha", None)
        rank = len(down)
        scale = _scale(training, name, rank) if alpha is None else float(alpha) / rank
        if name in layers:
            raise UserError(f"{what}: layer {name} is there twice")
        layers[name] = Layer(down, up if scale == 1 else up.float() * scale)
    if tensors:
        raise UserError(f"{what}: unexpected keys such as {min(tensors)} ({len(tensors)})")
    if not layers:
        raise UserError(f"the file holds no LoRA weights: {file} (model {model_name})")
    return layers


def _download(lora: Lora) -> str:
    """The local copy of a LoRA on the hub."""
    from huggingface_hub import snapshot_download

    where = snapshot_download(
        lora.id, revision=lora.revision, allow_patterns=["*.safetensors", "adapter_config.json"]
    )
    return str(lora_file(lora.model_copy(update={"id": where})))


def _training(file: Path, metadata: Mapping[str, str]) -> dict[str, Any]:
    """How it was trained, which has alpha where no key does.

    diffusers keeps it in the file's header, as `unet.lora_alpha` and so on; peft in
    adapter_config.json beside the file.
    """
    if "lora_adapter_metadata" in metadata:
        return dict(parse_json(metadata["lora_adapter_metadata"]))
    config = file.parent / "adapter_config.json"
    return dict(parse_json(config.read_text())) if config.is_file() else {}


def _scale(training: Mapping[str, Any], name: str, rank: int) -> float:
    """peft's scaling of a layer: alpha / rank, or alpha / √rank under rslora; 1 by default."""
    part = name.split(".")[0]
    own = f"{part}." if f"{part}.lora_alpha" in training else ""
    alpha = training.get(f"{own}lora_alpha", rank)
    for pattern, value in (training.get(f"{own}alpha_pattern") or {}).items():
        if re.fullmatch(rf"(.*\.)?({pattern.removeprefix('^')})", name.removeprefix(own)):
            alpha = value
    return float(alpha) / (math.sqrt(rank) if training.get(f"{own}use_rslora") else rank)
