"""Train the PixArt-shaped pipeline: a transformer and its T5-shaped text encoder, together.

Shape letters: B batch, L tokens, D text width, C h w latents.
"""

from pathlib import Path

import torch
from diffusers import (
    AutoencoderKL,
    DPMSolverMultistepScheduler,
    PixArtAlphaPipeline,
    PixArtTransformer2DModel,
)
from torch import nn
from transformers import T5Config, T5EncoderModel, T5Tokenizer

from raypipe.models.reward.files import without_padding

from .denoise import SCHEDULE, train_denoiser
from .settings import DenoiserPlan
from .tokenizers import tokens

_TEXT_WIDTH = 64
_LENGTH = 40
"""Tokens in training; masked padding up to the pipeline's 120 would change nothing."""


def new_text_encoder(tokenizer: T5Tokenizer) -> T5EncoderModel:
    """Two layers in the shape of T5 v1.1."""
    return T5EncoderModel(
        T5Config(
            vocab_size=len(tokenizer),
            d_model=_TEXT_WIDTH,
            d_kv=16,
            d_ff=4 * _TEXT_WIDTH,
            num_layers=2,
            num_heads=4,
            dropout_rate=0.0,
            feed_forward_proj="gated-gelu",
            pad_token_id=tokenizer.pad_token_id,
            eos_token_id=tokenizer.eos_token_id,
            tie_word_embeddings=False,
        )
    )


def new_transformer() -> PixArtTransformer2DModel:
    """PixArt's layout: 64 patches of 2×2, one shared time modulation; no learned variance.

    It starts as the paper's: no text and no noise predicted, Xavier elsewhere.
    """
    transformer = PixArtTransformer2DModel(
        sample_size=16,
        in_channels=4,
        out_channels=4,
        patch_size=2,
        num_layers=6,
        num_attention_heads=4,
        attention_head_dim=32,
        cross_attention_dim=128,
        caption_channels=_TEXT_WIDTH,
        norm_num_groups=16,
    )
    for block in transformer.transformer_blocks:
        for layer in block.modules():
            if isinstance(layer, nn.Linear):
                nn.init.xavier_uniform_(layer.weight)
        nn.init.zeros_(block.attn2.to_out[0].weight)
    nn.init.zeros_(transformer.proj_out.weight)
    nn.init.zeros_(transformer.proj_out.bias)
    return transformer


class Denoiser(nn.Module):
    """The transformer and the text encoder as one module, so that one optimiser trains them."""

    def __init__(self, tokenizer: T5Tokenizer):
        super().__init__()
        self.tokenizer = tokenizer
        self.text_encoder = new_text_encoder(tokenizer)
        self.transformer = new_transformer()

    def forward(self, noisy_BChw, t_B, texts: list[str]) -> torch.Tensor:
        """The predicted v BChw."""
        read = tokens(self.tokenizer, texts, _LENGTH)
        states_BLD = self.text_encoder(read.input_ids, attention_mask=read.attention_mask)[0]
        return self.transformer(
            noisy_BChw,
            encoder_hidden_states=states_BLD,
            encoder_attention_mask=read.attention_mask,
            timestep=t_B,
            added_cond_kwargs={"resolution": None, "aspect_ratio": None},
        ).sample


def train_pixart(latents_NChw, tokenizer, plan: DenoiserPlan, work: Path) -> nn.Module:
    """The trained denoiser; see `train_denoiser`."""
    torch.manual_seed(plan.seed)
    return train_denoiser(Denoiser(tokenizer), latents_NChw, plan, work / "pixart.pt")


def pipeline(model: Denoiser, vae: AutoencoderKL) -> PixArtAlphaPipeline:
    """The stock pipeline around the trained parts."""
    return PixArtAlphaPipeline(
        tokenizer=without_padding(model.tokenizer),
        text_encoder=model.text_encoder,
        vae=vae,
        transformer=model.transformer,
        scheduler=DPMSolverMultistepScheduler(**SCHEDULE, timestep_spacing="trailing"),
    )
