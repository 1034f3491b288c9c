"""A UNet with a LoRA to train; the base model is available without a copy."""

import contextlib
from collections.abc import Iterator

import diffusers
import torch
from peft import LoraConfig
from peft.tuners.tuners_utils import BaseTunerLayer

from raypipe.config.model import Model
from raypipe.config.training import Adapter
from raypipe.errors import UserError
from raypipe.models.lora.file import Layer
from raypipe.weights.locate import pipeline_index

NAME = "face"
"""Of the adapter, which no file holds."""


def check_adapter(model: Model, adapter: Adapter) -> None:
    """UserError for a target that no layer of the model's UNet has, or a rank beyond all layers.

    Reads the UNet's config alone.
    """
    config = pipeline_index(model, "unet/config.json")
    try:
        with torch.device("meta"):
            unet = diffusers.UNet2DConditionModel.from_config(config)
    except (ValueError, TypeError, KeyError, IndexError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"unet/config.json of model {model.name} is of no UNet: {reason}") from None
    sides = {
        path: min(module.weight.shape[0], module.weight[0].numel())
        for path, module in unet.named_modules()
        if isinstance(module, torch.nn.Linear | torch.nn.Conv2d)
    }
    largest = 0
    for target in adapter.targets:
        found = [n for path, n in sides.items() if path == target or path.endswith(f".{target}")]
        if not found:
            ends = sorted({path.rpartition(".")[2] for path in sides if not path[-1].isdigit()})
            raise UserError(
                f"adapter.targets must be ends of layers' names in the UNet of model {model.name}, "
                f"got {target}; there are {', '.join(ends)}"
            )
        largest = max(largest, *found)
    if adapter.rank > largest:
        raise UserError(
            f"adapter.rank must not exceed {largest}, the rank of the largest layer among "
            f"{', '.join(adapter.targets)}, got {adapter.rank}"
        )


def add_adapter(unet: diffusers.UNet2DConditionModel, settings: Adapter, seed: int) -> None:
    """Put a fresh LoRA on a UNet, in float32; nothing else of the UNet is trained any more.

    The same seed gives the same numbers on every worker.
    """
    unet.requires_grad_(False)
    torch.manual_seed(seed)
    unet.add_adapter(
        LoraConfig(
            r=settings.rank,
            lora_alpha=settings.alpha or settings.rank,
            target_modules=list(settings.targets),
            lora_dropout=settings.dropout,
        ),
        NAME,
    )
    for parameter in unet.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()


@contextlib.contextmanager
def base_of(unet: diffusers.UNet2DConditionModel) -> Iterator[None]:
    """Within it the UNet runs without the adapter, and keeps no gradients."""
    switched = [layer for layer in _adapted(unet).values() if not layer.disable_adapters]
    for layer in switched:
        layer.enable_adapters(False)
    try:
        with torch.no_grad():
            yield
    finally:
        for layer in switched:
            layer.enable_adapters(True)


def trained_layers(unet: diffusers.UNet2DConditionModel) -> dict[str, Layer]:
    """The LoRA by the path of each layer that it changes; alpha / rank is in `up`."""
    layers = {}
    for path, layer in _adapted(unet).items():
        down, up = layer.lora_A[NAME].weight, layer.lora_B[NAME].weight
        scaled = up.detach().float() * layer.scaling[NAME]
        layers[path] = Layer(down.detach().float().cpu(), scaled.cpu())
    return layers


def _adapted(unet: diffusers.UNet2DConditionModel) -> dict[str, BaseTunerLayer]:
    return {p: m for p, m in unet.named_modules() if isinstance(m, BaseTunerLayer)}
