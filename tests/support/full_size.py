"""Published architectures at their full size, with random weights, saved in the real formats.

For benchmarks: what a step costs depends on shapes alone. Vocabularies are small. Tests use
tests/support/tiny.py.
"""

from pathlib import Path

import diffusers
import torch

from tests.support import tiny

VAE = (128, 256, 512, 512)


def sd15(path: Path) -> Path:
    """Stable Diffusion 1.5: a UNet of 860 million weights, four gigabytes in all."""
    torch.manual_seed(0)
    unet = diffusers.UNet2DConditionModel(sample_size=64, cross_attention_dim=768)
    vae = tiny.vae(VAE, sample_size=512)
    return tiny.save_sd(path, diffusers.StableDiffusionPipeline, vae, unet)


def sdxl(path: Path) -> Path:
    """SDXL: a UNet of 2.6 billion weights; of its text encoders two layers each."""
    torch.manual_seed(0)
    unet = tiny.sdxl_unet(
        sample_size=128,
        block_out_channels=(320, 640, 1280),
        attention_head_dim=(5, 10, 20),
        cross_attention_dim=2048,
        addition_time_embed_dim=256,
        projection_class_embeddings_input_dim=2816,
    )
    vae = tiny.vae(VAE, sample_size=1024, scaling_factor=0.13025)
    kind = diffusers.StableDiffusionXLPipeline
    return tiny.save_sdxl(path, kind, vae, unet, (768, 1280), (2, 2))
