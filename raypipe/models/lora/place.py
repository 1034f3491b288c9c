"""LoRA files in every common layout, put on a pipeline layer by layer.

diffusers silently loads only a part of some files, and PixArt's pipeline takes no LoRA at all. So
the layers of Stable Diffusion, SDXL and PixArt are found here by name, each key must have a place,
and peft puts them in. Other pipelines are left to diffusers, and their layers are counted.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import diffusers
import torch
from peft import LoraConfig, inject_adapter_in_model, set_peft_model_state_dict
from peft.tuners.tuners_utils import BaseTunerLayer

from raypipe.config.model import Model
from raypipe.errors import UserError
from raypipe.models.lora.file import Layer, read_lora
from raypipe.models.lora.ldm_names import unet_name
from raypipe.models.lora.others import load_with_diffusers
from raypipe.weights.families import ENCODED
from raypipe.weights.lora_names import names_of, part_of


@dataclass(frozen=True)
class LoadedLora:
    """A LoRA on a pipeline."""

    pipe: diffusers.DiffusionPipeline
    model: Model
    acts_elsewhere: bool
    """Whether it also changes a part of the model that this pipeline does not hold."""

    def check_acts(self, output: Callable[[], torch.Tensor]) -> None:
        """Raise UserError if `output` is the same with the LoRA and without."""
        layers = [m for part in _parts(self.pipe).values() for m in _tuned(part)]
        if not layers or self.acts_elsewhere:
            return
        with_lora = output()
        for layer in layers:
            layer.enable_adapters(False)
        without = output()
        for layer in layers:
            layer.enable_adapters(True)
        lora = self.model.lora
        if lora is not None and torch.equal(with_lora, without):
            raise UserError(
                f"a LoRA must change the picture, but model {self.model.name} makes the same one "
                f"without {lora.id} at scale {lora.scale}"
            )


def load_lora(pipe: diffusers.DiffusionPipeline, model: Model) -> LoadedLora | None:
    """Put the model's LoRA, if it has one, on the parts that `pipe` holds, at its scale.

    Raises UserError for a file with a key that has no place in the model.
    """
    lora = model.lora
    if lora is None:
        return None
    if type(pipe).__name__ not in ENCODED:
        load_with_diffusers(pipe, model)
        return LoadedLora(pipe, model, acts_elsewhere=False)
    by_part: dict[str, dict[str, Layer]] = {}
    for name, layer in read_lora(lora, model.name).items():
        part, path = part_of(name)
        by_part.setdefault(part, {})[path] = layer
    parts, acts_elsewhere = _parts(pipe), False
    known = {"denoiser", *(name for name in pipe.config if name.startswith("text_encoder"))}
    for part, layers in by_part.items():
        if part not in known:
            raise UserError(f"{_misfit(model)}: it changes {part}, which the model does not have")
        if part in parts:
            placed = _place(parts[part], part, layers, model)
            _inject(parts[part], placed, lora.scale)
        else:
            acts = any(bool(layer.up.any() and layer.down.any()) for layer in layers.values())
            acts_elsewhere |= acts and lora.scale != 0
    return LoadedLora(pipe, model, acts_elsewhere)


def _misfit(model: Model) -> str:
    return f"the LoRA of model {model.name} does not fit it"


def _parts(pipe: diffusers.DiffusionPipeline) -> dict[str, torch.nn.Module]:
    """The loaded networks that a LoRA may change."""
    names = {"unet": "denoiser", "transformer": "denoiser"}
    return {
        names.get(name, name): part
        for name, part in pipe.components.items()
        if isinstance(part, torch.nn.Module) and name not in ("vae", "safety_checker")
    }


def _tuned(part: torch.nn.Module) -> list[BaseTunerLayer]:
    return [module for module in part.modules() if isinstance(module, BaseTunerLayer)]


def _place(
    module: torch.nn.Module, part: str, layers: Mapping[str, Layer], model: Model
) -> dict[str, Layer]:
    """Layers by the path of the module that each changes."""
    places = _places(module, part)
    placed: dict[str, Layer] = {}
    for name, layer in layers.items():
        path = places.get(name)
        if path is None:
            raise UserError(f"{_misfit(model)}: no layer {name} in its {part}")
        weight = module.get_submodule(path).weight
        assert isinstance(weight, torch.Tensor)
        rank = layer.down.shape[0]
        wanted = [(rank, *weight.shape[1:]), (weight.shape[0], rank)]
        got = [tuple(layer.down.shape), tuple(layer.up.shape[:2])]
        if got != wanted:
            raise UserError(
                f"{_misfit(model)}: {part} layer {name} takes matrices of {wanted}, got {got}"
            )
        if path in placed:
            raise UserError(f"{_misfit(model)}: {part} layer {name} is there twice")
        placed[path] = layer
    return placed


def _places(module: torch.nn.Module, part: str) -> dict[str, str]:
    """Every name that a LoRA file may have for a layer, to the layer's path in the module."""
    places: dict[str, str] = {}
    attention = [
        path
        for path, _ in module.named_modules()
        if path.startswith("up_blocks.") and path.endswith(".attentions")
    ]
    for path, layer in module.named_modules():
        if not isinstance(layer, torch.nn.Linear | torch.nn.Conv2d):
            continue
        names = names_of(path, part)
        if isinstance(module, diffusers.UNet2DConditionModel):
            block = ".".join(path.split(".")[:2])
            per_block = module.config["layers_per_block"]
            original = unet_name(path, per_block, f"{block}.attentions" in attention)
            names += [original, original.replace(".", "_")]
        for name in names:
            places[name] = path
    return places


def _inject(module: torch.nn.Module, layers: Mapping[str, Layer], scale: float) -> None:
    """Put layers into a network with peft; alpha is in the matrices, so that it equals the rank."""
    ranks = {path: layer.down.shape[0] for path, layer in layers.items()}
    weights = {f"{path}.lora_A.weight": layer.down for path, layer in layers.items()}
    weights |= {f"{path}.lora_B.weight": layer.up for path, layer in layers.items()}
    pattern = {f"^{path}": rank for path, rank in ranks.items()}
    highest = max(ranks.values())
    config = LoraConfig(
        r=highest,
        lora_alpha=highest,
        rank_pattern=pattern,
        alpha_pattern=pattern,
        target_modules=list(layers),
    )
    inject_adapter_in_model(config, module, "lora", state_dict=weights)
    result = set_peft_model_state_dict(module, weights, "lora")
    tuned = _tuned(module)
    assert not result.unexpected_keys
    assert len(tuned) == len(layers)
    for layer in tuned:
        layer.set_scale("lora", scale)
        layer.to(dtype=layer.weight.dtype)  # peft keeps the file's
