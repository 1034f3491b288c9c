"""Train the SD-1.5-shaped pipeline: a UNet and one text encoder, which start from the SDXL-shaped
one's. Its four latent channels inpaint too, as those of any text-to-image checkpoint do.

Shape letters: B batch, L tokens (77), D text width, C h w latents.
"""

from pathlib import Path

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from torch import nn
from transformers import CLIPTextModel, CLIPTokenizer

from raypipe.models.reward.files import without_padding

from .denoise import SCHEDULE, train_denoiser
from .sdxl import TEXT_WIDTH, UNET
from .settings import DenoiserPlan
from .tokenizers import CLIP_LENGTH, tokens


def new_unet() -> UNet2DConditionModel:
    """The SDXL-shaped UNet, without sizes and pooled text, and with one encoder's token states."""
    return UNet2DConditionModel(**UNET, cross_attention_dim=TEXT_WIDTH)


class Denoiser(nn.Module):
    """The UNet and the text encoder as one module, so that one optimiser trains them."""

    def __init__(self, start: StableDiffusionXLPipeline):
        super().__init__()
        self.tokenizer: CLIPTokenizer = start.tokenizer
        self.text_encoder: CLIPTextModel = start.text_encoder
        self.unet = new_unet()
        weights = {
            name: weight[:, :TEXT_WIDTH]
            if name.endswith(("attn2.to_k.weight", "attn2.to_v.weight"))
            else weight
            for name, weight in start.unet.state_dict().items()
            if not name.startswith("add_embedding.")
        }
        self.unet.load_state_dict(weights)

    def forward(self, noisy_BChw, t_B, texts: list[str]) -> torch.Tensor:
        """The predicted v BChw."""
        ids_BL = tokens(self.tokenizer, texts, CLIP_LENGTH).input_ids
        return self.unet(noisy_BChw, t_B, self.text_encoder(ids_BL)[0]).sample


def train_sd15(
    latents_NChw, start: StableDiffusionXLPipeline, plan: DenoiserPlan, work: Path
) -> nn.Module:
    """The trained denoiser, from the SDXL-shaped pipeline's weights; see `train_denoiser`."""
    torch.manual_seed(plan.seed)
    return train_denoiser(Denoiser(start), latents_NChw, plan, work / "sd15.pt")


def pipeline(model: Denoiser, vae: AutoencoderKL) -> StableDiffusionPipeline:
    """The stock pipeline around the trained parts."""
    return StableDiffusionPipeline(
        vae=vae,
        text_encoder=model.text_encoder,
        tokenizer=without_padding(model.tokenizer),
        unet=model.unet,
        scheduler=DDIMScheduler(
            **SCHEDULE, timestep_spacing="trailing", clip_sample=False, set_alpha_to_one=False
        ),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
