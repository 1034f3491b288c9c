"""LoRA files in the layouts that trainers write, with random matrices that are known here."""

from collections.abc import Callable
from pathlib import Path

import diffusers
import torch
from safetensors.torch import load_file, save_file

from tests.support import plain

Matrices = dict[str, tuple[torch.Tensor, torch.Tensor]]
"""Down (rank, inputs) and up (outputs, rank) by part and layer, as `unet.mid_block...to_q`.

Those of a convolution have its height and width behind: (rank, inputs, 3, 3) and (outputs, rank, 1,
1).
"""

PARTS = ("unet", "transformer", "text_encoder", "text_encoder_2")


def matrices(directory: Path, layers: tuple[str, ...], rank: int = 2) -> Matrices:
    """Random matrices for the layers of a pipeline whose path ends in one of `layers`."""
    pipe = diffusers.DiffusionPipeline.from_pretrained(directory)
    generator = torch.Generator().manual_seed(0)
    made: Matrices = {}
    for part in PARTS:
        for path, module in getattr(pipe, part, torch.nn.Module()).named_modules():
            if isinstance(module, torch.nn.Linear | torch.nn.Conv2d) and path.endswith(layers):
                outputs, inputs, *kernel = module.weight.shape
                made[f"{part}.{path}"] = (
                    torch.randn(rank, inputs, *kernel, generator=generator),
                    0.1 * torch.randn(outputs, rank, *[1 for _ in kernel], generator=generator),
                )
    return made


def merged(directory: Path, layers: Matrices, scale: float) -> diffusers.DiffusionPipeline:
    """The plain pipeline with W + scale · up @ down in place of W: what a LoRA means."""
    pipe = plain.pipeline(directory)
    for name, (down, up) in layers.items():
        part, path = name.split(".", 1)
        weight = getattr(pipe, part).get_submodule(path).weight
        weight.data += scale * (up.flatten(1) @ down.flatten(1)).reshape(weight.shape)
    return pipe


def write(
    path: Path,
    layers: Matrices,
    rename: Callable[[str], str] = str,
    down: str = ".lora_A.weight",
    up: str = ".lora_B.weight",
) -> Path:
    """Write a file whose keys are `rename(layer)` and an ending, peft's if nothing is said."""
    tensors = {}
    for name, (first, second) in layers.items():
        tensors[rename(name) + down] = first
        tensors[rename(name) + up] = second
    save_file(tensors, path)
    return path


def mix_layouts(directory: Path) -> Path:
    """Give half the layers of a tiny LoRA the names of another layout; returns its file."""
    file = directory / "pytorch_lora_weights.safetensors"
    mixed = {
        key.replace("lora_A", "lora.down").replace("lora_B", "lora.up") if "to_v" in key else key: v
        for key, v in load_file(file).items()
    }
    save_file(mixed, file, metadata={"format": "pt"})
    return file


def with_text_model(name: str) -> str:
    """A text encoder's layer as files have it, whichever way transformers nests the encoder."""
    part, path = name.split(".", 1)
    if part.startswith("text_encoder"):
        return f"{part}.text_model.{path.removeprefix('text_model.')}"
    return name
