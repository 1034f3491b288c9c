"""Train the SDXL-shaped pipeline: a UNet and its two text encoders, together.

Shape letters: B batch, L tokens (77), D text width, C h w latents.
"""

from pathlib import Path

import torch
from diffusers import (
    AutoencoderKL,
    EulerDiscreteScheduler,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from raypipe.models.reward.files import without_padding

from .denoise import SCHEDULE, noise_loss, train_denoiser
from .settings import DenoiserPlan
from .tokenizers import CLIP_LENGTH, tokens

TEXT_WIDTH = 64
UNET = {
    "sample_size": 16,
    "in_channels": 4,
    "out_channels": 4,
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
    "block_out_channels": (48, 96),
    "layers_per_block": 1,
    "transformer_layers_per_block": 1,
    "attention_head_dim": (2, 3),
    "norm_num_groups": 16,
    "use_linear_projection": True,
}
"""SDXL's block layout at a thousandth of its size; attention at the lower resolution only."""
_TIME_IDS = (64, 64, 0, 0, 64, 64)
"""Original size, crop corner, target size: what the pipeline sends for a 64×64 picture."""
_DROPPED = 0.12
"""Share of captions that are dropped: half become zeros (what the pipeline sends without a negative
prompt), half the empty caption (what it sends for the negative prompt "")."""


def _text_config(tokenizer: CLIPTokenizer, activation: str) -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=TEXT_WIDTH,
        intermediate_size=4 * TEXT_WIDTH,
        projection_dim=TEXT_WIDTH,
        num_hidden_layers=3,
        num_attention_heads=2,
        max_position_embeddings=CLIP_LENGTH,
        hidden_act=activation,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def new_unet() -> UNet2DConditionModel:
    """An untrained UNet of about two million parameters."""
    return UNet2DConditionModel(
        **UNET,
        cross_attention_dim=2 * TEXT_WIDTH,
        addition_embed_type="text_time",
        addition_time_embed_dim=16,
        projection_class_embeddings_input_dim=6 * 16 + TEXT_WIDTH,
    )


class Denoiser(nn.Module):
    """The UNet and the two text encoders as one module, so that one optimiser trains them."""

    def __init__(self, tokenizer: CLIPTokenizer):
        super().__init__()
        self.tokenizer = tokenizer
        self.text_encoder = CLIPTextModel(_text_config(tokenizer, "quick_gelu"))
        self.text_encoder_2 = CLIPTextModelWithProjection(_text_config(tokenizer, "gelu"))
        self.unet = new_unet()

    def encode(self, texts: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
        """Token states BLD of both encoders side by side, and the pooled text BD."""
        ids_BL = tokens(self.tokenizer, texts, CLIP_LENGTH).input_ids
        first = self.text_encoder(ids_BL, output_hidden_states=True)
        second = self.text_encoder_2(ids_BL, output_hidden_states=True)
        states_BLD = torch.cat([first.hidden_states[-2], second.hidden_states[-2]], dim=-1)
        return states_BLD, second.text_embeds

    def predict(self, noisy_BChw, t_B, states_BLD, pooled_BD) -> torch.Tensor:
        """The predicted v BChw."""
        time_ids = torch.tensor([_TIME_IDS], dtype=torch.float32).repeat(len(t_B), 1)
        added = {"text_embeds": pooled_BD, "time_ids": time_ids}
        return self.unet(noisy_BChw, t_B, states_BLD, added_cond_kwargs=added).sample


def drop(texts: list[str], generator: torch.Generator) -> tuple[list[str], torch.Tensor]:
    """Captions with some emptied, and which rows B are to be zeroed altogether."""
    chance_B = torch.rand(len(texts), generator=generator)
    emptied = (chance_B < _DROPPED / 2).tolist()
    texts = ["" if gone else text for text, gone in zip(texts, emptied, strict=True)]
    return texts, (chance_B >= _DROPPED / 2) & (chance_B < _DROPPED)


def denoiser_loss(
    model: Denoiser, latents_BChw, texts, generator, epsilon: bool = False
) -> torch.Tensor:
    """The loss of one batch, with caption dropout."""
    texts, zeroed_B = drop(texts, generator)

    def predict(noisy_BChw, t_B, texts):
        states_BLD, pooled_BD = model.encode(texts)
        states_BLD = states_BLD.masked_fill(zeroed_B[:, None, None], 0)
        pooled_BD = pooled_BD.masked_fill(zeroed_B[:, None], 0)
        return model.predict(noisy_BChw, t_B, states_BLD, pooled_BD)

    return noise_loss(predict, latents_BChw, texts, generator, epsilon)


def train_sdxl(latents_NChw, tokenizer, plan: DenoiserPlan, work: Path) -> nn.Module:
    """The trained denoiser; see `train_denoiser`."""
    torch.manual_seed(plan.seed)
    checkpoint = work / "sdxl.pt"
    return train_denoiser(Denoiser(tokenizer), latents_NChw, plan, checkpoint, denoiser_loss)


def pipeline(model: Denoiser, vae: AutoencoderKL) -> StableDiffusionXLPipeline:
    """The stock pipeline around the trained parts."""
    tokenizer = without_padding(model.tokenizer)
    return StableDiffusionXLPipeline(
        vae=vae,
        text_encoder=model.text_encoder,
        text_encoder_2=model.text_encoder_2,
        tokenizer=tokenizer,
        tokenizer_2=tokenizer,
        unet=model.unet,
        scheduler=EulerDiscreteScheduler(**SCHEDULE, timestep_spacing="trailing"),
        force_zeros_for_empty_prompt=True,
        add_watermarker=False,
    )
