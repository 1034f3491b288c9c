"""Published architectures at their full size, with random weights, saved in the real formats.

For benchmarks: what a step costs depends on shapes alone. Tests use tests/tiny.py.
"""

from pathlib import Path

import diffusers
import torch
import transformers

from raypipe.miniature.tokenizers import clip_tokenizer
from tests.tiny import CAPTIONS


def sd15(path: Path) -> Path:
    """Stable Diffusion 1.5: a UNet of 860 million weights, four gigabytes in all."""
    torch.manual_seed(0)
    tokenizer = clip_tokenizer(CAPTIONS)
    text = transformers.CLIPTextConfig(
        hidden_size=768,
        intermediate_size=3072,
        num_hidden_layers=12,
        num_attention_heads=12,
        projection_dim=768,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    diffusers.StableDiffusionPipeline(
        vae=diffusers.AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            block_out_channels=(128, 256, 512, 512),
            layers_per_block=2,
            latent_channels=4,
            sample_size=512,
        ),
        text_encoder=transformers.CLIPTextModel(text),
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
