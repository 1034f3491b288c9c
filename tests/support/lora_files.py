"""LoRA files in the layouts that trainers write, with random matrices that are known here."""

from pathlib import Path

import diffusers
import torch
from safetensors.torch import save_file

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
    pipe = diffusers.DiffusionPipeline.from_pretrained(directory)
    for name, (down, up) in layers.items():
        part, path = name.split(".", 1)
        weight = getattr(pipe, part).get_submodule(path).weight
        weight.data += scale * (up.flatten(1) @ down.flatten(1)).reshape(weight.shape)
    return pipe


def write(path: Path, layers: Matrices, down: str, up: str, rename=lambda name: name) -> Path:
    """Write a file whose keys are `rename(layer)` and an ending."""
    tensors = {}
    for name, (first, second) in layers.items():
        tensors[rename(name) + down] = first
        tensors[rename(name) + up] = second
    save_file(tensors, path)
    return path


def with_text_model(name: str) -> str:
    """A text encoder's layer as files have it, whichever way transformers nests the encoder."""
    part, path = name.split(".", 1)
    if part.startswith("text_encoder"):
        return f"{part}.text_model.{path.removeprefix('text_model.')}"
    return name
