"""Train the autoencoder: 64×64 RGB to 16×16 latents of 4 channels, and back.

Shape letters: B batch, C channels, H W picture, h w latents.
"""

from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch.nn import functional

from .data import as_tensor
from .loop import train
from .settings import Plan

_KL_WEIGHT = 1e-4
"""Per latent value. A hundred times more cost a trial run one of its four channels."""
_CROP = 32


def new_vae() -> AutoencoderKL:
    """An untrained AutoencoderKL of 4× and about half a million parameters."""
    return AutoencoderKL(
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(16, 32, 64),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=8,
        sample_size=64,
        mid_block_add_attention=False,
        force_upcast=False,
    )


def _edges(x_BCHW: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return x_BCHW.diff(dim=2), x_BCHW.diff(dim=3)


def _loss(vae: AutoencoderKL, x_BCHW: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Error of the pixels and of their differences, plus a little KL."""
    posterior = vae.encode(x_BCHW).latent_dist
    noise_BChw = torch.randn(posterior.mean.shape, generator=generator)
    y_BCHW = vae.decode(posterior.mean + posterior.std * noise_BChw).sample
    error = functional.l1_loss(y_BCHW, x_BCHW) + 3 * functional.mse_loss(y_BCHW, x_BCHW)
    for y_edge, x_edge in zip(_edges(y_BCHW), _edges(x_BCHW), strict=True):
        error = error + 0.5 * functional.l1_loss(y_edge, x_edge)
    return error + _KL_WEIGHT * posterior.kl().mean() / posterior.mean[0].numel()


def _crops(pictures_NHWC: np.ndarray, count: int, generator: torch.Generator) -> torch.Tensor:
    """Random windows B×3×32×32, most of them near the middle, where faces and objects are."""
    rows = torch.randint(len(pictures_NHWC), (count,), generator=generator).tolist()
    reach = pictures_NHWC.shape[1] - _CROP + 1
    corners_B2 = (torch.rand(count, 2, 2, generator=generator).mean(1) * reach).int().tolist()
    windows = [
        pictures_NHWC[row, y : y + _CROP, x : x + _CROP]
        for row, (y, x) in zip(rows, corners_B2, strict=True)
    ]
    return as_tensor(np.stack(windows))


def train_vae(pictures_NHWC: np.ndarray, plan: Plan, work: Path):
    """The trained autoencoder, its latents standardised on the first pictures."""
    torch.manual_seed(plan.seed)
    vae = new_vae()

    def loss_of(step: int, generator: torch.Generator) -> torch.Tensor:
        x_BCHW = _crops(pictures_NHWC, plan.batch, generator)
        with torch.autocast("cpu", torch.bfloat16):
            return _loss(vae, x_BCHW, generator)

    train(vae, loss_of, plan, work / "vae.pt")
    standardise(vae, encode(vae, pictures_NHWC[:1000], scaled=False))
    spread = encode(vae, pictures_NHWC[:1000], scaled=False).std().item()
    vae.register_to_config(scaling_factor=round(1 / spread, 5))
    return vae


@torch.no_grad()
def standardise(vae: AutoencoderKL, latents_NChw: torch.Tensor):
    """Fold each channel's mean and deviation into the 1×1 convolutions beside the latents.

    Pictures come out as before; the denoisers get channels of mean 0 and deviation 1.
    """
    mean_C, std_C = latents_NChw.mean((0, 2, 3)), latents_NChw.std((0, 2, 3))
    count = len(mean_C)
    into, out_of = vae.quant_conv, vae.post_quant_conv
    into.weight[:count] /= std_C.view(-1, 1, 1, 1)
    into.bias[:count] = (into.bias[:count] - mean_C) / std_C
    into.bias[count:] -= 2 * std_C.log()
    out_of.bias += out_of.weight[:, :, 0, 0] @ mean_C
    out_of.weight *= std_C.view(1, -1, 1, 1)


@torch.no_grad()
def encode(vae: AutoencoderKL, pictures_NHWC: np.ndarray, scaled: bool = True) -> torch.Tensor:
    """Mean latents of uint8 pictures, float32 N×4×16×16."""
    parts = [
        vae.encode(as_tensor(pictures_NHWC[i : i + 100])).latent_dist.mean
        for i in range(0, len(pictures_NHWC), 100)
    ]
    return torch.cat(parts).contiguous() * (vae.config.scaling_factor if scaled else 1.0)
