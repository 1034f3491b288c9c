"""Train the style LoRA on the SDXL-shaped UNet: stylised renders, trigger "in the style of tok"."""

from pathlib import Path

import torch
from diffusers import StableDiffusionXLPipeline
from peft import LoraConfig, get_peft_model_state_dict
from torch import nn

from .denoise import captions_of
from .loop import train
from .sdxl import Denoiser, denoiser_loss
from .settings import Plan

_RANK = 16
_TARGETS = ("to_q", "to_k", "to_v", "to_out.0", "conv1", "conv2")
_PLAIN_SHARE = 0.25
"""Plain renders with plain captions in every batch, meant to tie the style to its trigger. The
strokes come without it as well: the text encoders have learned to ignore styles, and are not
trained here."""


class _Adapted(nn.Module):
    """Only what is trained, so that checkpoints and averages hold the LoRA alone."""

    def __init__(self, unet: nn.Module):
        super().__init__()
        self.weights = nn.ParameterList(p for p in unet.parameters() if p.requires_grad)


def train_lora(plain_NChw, styled_NChw, model: Denoiser, plan: Plan, work: Path) -> Denoiser:
    """The denoiser with a trained adapter in its UNet; the latents are those of seeds from 0 on."""
    torch.manual_seed(plan.seed)
    model.requires_grad_(False)
    model.unet.add_adapter(
        LoraConfig(r=_RANK, lora_alpha=_RANK, target_modules=list(_TARGETS), init_lora_weights=True)
    )
    plain_count = round(_PLAIN_SHARE * plan.batch)

    def loss_of(step: int, generator: torch.Generator) -> torch.Tensor:
        plain = torch.randint(len(plain_NChw), (plain_count,), generator=generator)
        styled = torch.randint(len(styled_NChw), (plan.batch - plain_count,), generator=generator)
        texts = captions_of(plain.tolist(), generator)
        texts += captions_of(styled.tolist(), generator, styled=True)
        latents_BChw = torch.cat([plain_NChw[plain], styled_NChw[styled]])
        order = torch.randperm(plan.batch, generator=generator)  # timesteps follow the row number
        texts = [texts[row] for row in order]
        return denoiser_loss(model, latents_BChw[order], texts, generator)

    train(_Adapted(model.unet), loss_of, plan, work / "lora.pt")
    return model


def save_lora(model: Denoiser, directory: Path):
    """Write `pytorch_lora_weights.safetensors`, with peft's own names for the layers.

    Diffusers' older names exist for attention layers only, and of a file with both kinds its loader
    drops one without an error.
    """
    layers = get_peft_model_state_dict(model.unet)
    layers = {name: weight.half().contiguous() for name, weight in layers.items()}
    StableDiffusionXLPipeline.save_lora_weights(directory, unet_lora_layers=layers)
