"""Shared by the denoisers: the noise schedule, the captions, the loss and the training.

Shape letters: B batch, C latent channels (4), h w latent height and width (16).
"""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

from .captions import STYLE, caption, training_caption
from .loop import train
from .settings import DenoiserPlan
from .specs import sample_spec

SCHEDULE = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.02,
    "beta_schedule": "scaled_linear",
    "prediction_type": "v_prediction",
}
"""SDXL's schedule with a higher end: a small picture needs more noise until none of it is left,
or the background's colour shows through in training at steps where sampling starts from noise.
And v in place of ε, since an error of ε at those steps costs little and yet decides the colour."""

_DROPPED = 0.1
"""Share of captions that become the empty one, which is what pipelines send without a negative
prompt."""

Predict = Callable[[torch.Tensor, torch.Tensor, list[str]], torch.Tensor]
"""(noisy latents BChw, timesteps B, captions) to the prediction BChw."""

Loss = Callable[[nn.Module, torch.Tensor, list[str], torch.Generator, bool], torch.Tensor]
"""(denoiser, latents BChw, captions, generator, whether ε is the target) to the loss."""


def alphas_cumprod() -> torch.Tensor:
    """ᾱ of every timestep, float32 (1000,)."""
    ends = SCHEDULE["beta_start"] ** 0.5, SCHEDULE["beta_end"] ** 0.5
    betas = torch.linspace(*ends, SCHEDULE["num_train_timesteps"]) ** 2
    return (1 - betas).cumprod(0)


def captions_of(rows: list[int], generator: torch.Generator, styled: bool = False) -> list[str]:
    """A fresh caption for every picture; the styled ones end with the trigger."""
    seeds = torch.randint(2**40, (len(rows),), generator=generator).tolist()
    pairs = zip(rows, seeds, strict=True)
    if styled:
        return [f"{caption(sample_spec(row), seed)} {STYLE}" for row, seed in pairs]
    return [training_caption(sample_spec(row), seed) for row, seed in pairs]


def noise_loss(
    predict: Predict,
    latents_BChw: torch.Tensor,
    texts: list[str],
    generator: torch.Generator,
    epsilon: bool = False,
) -> torch.Tensor:
    """Mean squared error of v = √ᾱ ε − √(1−ᾱ) x₀ (or of ε itself).

    The timesteps are drawn evenly, one in each equal share of their range.
    """
    noise_BChw = torch.randn(latents_BChw.shape, generator=generator)
    count = len(latents_BChw)
    spread_B = (torch.arange(count) + torch.rand(count, generator=generator)) / count
    t_B = (spread_B * SCHEDULE["num_train_timesteps"]).long()
    a_B111 = alphas_cumprod()[t_B].view(-1, 1, 1, 1)
    noisy_BChw = a_B111.sqrt() * latents_BChw + (1 - a_B111).sqrt() * noise_BChw
    v_BChw = a_B111.sqrt() * noise_BChw - (1 - a_B111).sqrt() * latents_BChw
    target_BChw = noise_BChw if epsilon else v_BChw
    with torch.autocast("cpu", torch.bfloat16):
        predicted_BChw = predict(noisy_BChw, t_B, texts)
    return functional.mse_loss(predicted_BChw.float(), target_BChw)


def dropout_loss(
    model: nn.Module,
    latents_BChw: torch.Tensor,
    texts: list[str],
    generator: torch.Generator,
    epsilon: bool,
) -> torch.Tensor:
    """`noise_loss` of a module that is called as `Predict`, with some captions emptied."""
    gone = (torch.rand(len(texts), generator=generator) < _DROPPED).tolist()
    texts = ["" if empty else text for text, empty in zip(texts, gone, strict=True)]
    return noise_loss(model, latents_BChw, texts, generator, epsilon)


def train_denoiser(
    model: nn.Module,
    latents_NChw: torch.Tensor,
    plan: DenoiserPlan,
    checkpoint: Path,
    loss: Loss = dropout_loss,
) -> nn.Module:
    """The trained denoiser; `latents_NChw` are the scaled latents of the seeds from 0 on."""

    def loss_of(step: int, generator: torch.Generator) -> torch.Tensor:
        rows = torch.randint(len(latents_NChw), (plan.batch,), generator=generator)
        texts = captions_of(rows.tolist(), generator)
        return loss(model, latents_NChw[rows], texts, generator, step < plan.epsilon_steps)

    return train(model, loss_of, plan, checkpoint)
