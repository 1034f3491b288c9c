"""Published architectures at their full size, with random weights, saved in the real formats.

For benchmarks: what a step costs depends on shapes alone. Vocabularies are small. Tests use
tests/support/tiny.py.
"""

from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers

from raypipe.miniature.tokenizers import clip_tokenizer
from tests.support.tiny import CAPTIONS


def _text(cls: type, tokenizer: Any, layers: int, width: int) -> Any:
    """A CLIP text encoder; heads have 64 values."""
    config = transformers.CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=layers,
        num_attention_heads=width // 64,
        projection_dim=width,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return cls(config)


def _vae(**options: Any) -> diffusers.AutoencoderKL:
    """The VAE of both Stable Diffusions."""
    return diffusers.AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(128, 256, 512, 512),
        layers_per_block=2,
        latent_channels=4,
        **options,
    )


def sd15(path: Path) -> Path:
    """Stable Diffusion 1.5: a UNet of 860 million weights, four gigabytes in all."""
    torch.manual_seed(0)
    tokenizer = clip_tokenizer(CAPTIONS)
    diffusers.StableDiffusionPipeline(
        vae=_vae(sample_size=512),
        text_encoder=_text(transformers.CLIPTextModel, tokenizer, 12, 768),
        tokenizer=tokenizer,
        unet=diffusers.UNet2DConditionModel(sample_size=64, cross_attention_dim=768),
        scheduler=diffusers.DDIMScheduler(
            clip_sample=False, beta_schedule="scaled_linear", steps_offset=1
        ),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(path)
    return path


def sdxl(path: Path) -> Path:
    """SDXL: a UNet of 2.6 billion weights; of its text encoders two layers each."""
    torch.manual_seed(0)
    tokenizer = clip_tokenizer(CAPTIONS)
    with_projection = transformers.CLIPTextModelWithProjection
    diffusers.StableDiffusionXLPipeline(
        vae=_vae(sample_size=1024, scaling_factor=0.13025),
        text_encoder=_text(transformers.CLIPTextModel, tokenizer, 2, 768),
        text_encoder_2=_text(with_projection, tokenizer, 2, 1280),
        tokenizer=tokenizer,
        tokenizer_2=tokenizer,
        unet=diffusers.UNet2DConditionModel(
            sample_size=128,
            block_out_channels=(320, 640, 1280),
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            transformer_layers_per_block=(1, 2, 10),
            attention_head_dim=(5, 10, 20),
            cross_attention_dim=2048,
            use_linear_projection=True,
            addition_embed_type="text_time",
            addition_time_embed_dim=256,
            projection_class_embeddings_input_dim=2816,
        ),
        scheduler=diffusers.EulerDiscreteScheduler(beta_schedule="scaled_linear"),
    ).save_pretrained(path)
    return path
