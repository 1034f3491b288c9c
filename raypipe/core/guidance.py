"""Losses on noised latents that teach a denoiser from pairs of a good and a bad picture.

Shape letters: B rows, C channels, h w latents; T timesteps. A latent x_0 is noised to
x_t = a x_0 + σ ε with a = √ᾱ_t and σ = √(1 − ᾱ_t). A network's output is ε, or
v = a ε − σ x_0; its `target` is what it should have been. Every loss is one number a row, (B,), in
the output's dtype.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch.nn import functional

Prediction = Literal["epsilon", "v_prediction"]

BOUND = 1.0
"""Largest κ of `guidance_loss`: no row counts more than it does in the denoising loss."""

SNR_CAP = 5.0
"""γ of `min_snr_weights`, as its authors choose it (arXiv 2303.09556)."""


@dataclass(frozen=True)
class Level:
    """How much noise each row holds; both (B, 1, 1, 1), with a² + σ² = 1."""

    a: torch.Tensor
    sigma: torch.Tensor


def level(alphas_cumprod_T: torch.Tensor, t_B: torch.Tensor) -> Level:
    """The levels of timesteps; every t below 0 means no noise at all, a = 1 and σ = 0."""
    bar_B = alphas_cumprod_T[t_B.clamp(min=0)]
    bar_B111 = torch.where(t_B < 0, torch.ones_like(bar_B), bar_B).view(-1, 1, 1, 1)
    return Level(bar_B111.sqrt(), (1 - bar_B111).sqrt())


def uniform_timesteps(count: int, total: int, generator: torch.Generator) -> torch.Tensor:
    """Timesteps (count,) from 0 to total − 1, one in each equal share of their range, shuffled.

    Each alone is uniform, so means over them are unbiased; together they vary less than
    independent ones.
    """
    shares = torch.randperm(count, generator=generator)
    within = torch.rand(count, generator=generator, dtype=torch.float64)
    return ((shares + within) / count * total).long().clamp(max=total - 1)


def noised(x_BChw: torch.Tensor, noise_BChw: torch.Tensor, at: Level) -> torch.Tensor:
    """x_t = a x_0 + σ ε."""
    return at.a * x_BChw + at.sigma * noise_BChw


def target(
    x_BChw: torch.Tensor, noise_BChw: torch.Tensor, at: Level, prediction: Prediction
) -> torch.Tensor:
    """What the network should output for x_t: ε, or v = a ε − σ x_0."""
    return noise_BChw if prediction == "epsilon" else at.a * noise_BChw - at.sigma * x_BChw


def squared_error(output_BChw: torch.Tensor, target_BChw: torch.Tensor) -> torch.Tensor:
    """(B,): mean over C × h × w of (output − target)².

    Of the good pictures it is the denoising loss, all of `sft`. Of the network's output and that
    of the base model for the same x_t it is the keep term, ‖ε_θ − ε_base‖².
    """
    return (output_BChw - target_BChw).square().mean(dim=(1, 2, 3))


def masked_mean(values_BChw: torch.Tensor, mask_B1hw: torch.Tensor) -> torch.Tensor:
    """(B,): Σ M value / (C Σ M), the mean over the mask's area; 0 for an empty mask.

    A latent that the mask half covers counts as half. An empty mask passes no gradient on.
    """
    channels = values_BChw.shape[1]
    area_B = mask_B1hw.sum(dim=(1, 2, 3)) * channels
    total_B = (values_BChw * mask_B1hw).sum(dim=(1, 2, 3))
    return total_B / torch.where(area_B > 0, area_B, torch.ones_like(area_B))


def guidance_scale(at: Level, to: Level, prediction: Prediction) -> torch.Tensor:
    """κ (B, 1, 1, 1) of `guidance_loss`, before it is bounded."""
    sine_B111 = to.a * at.sigma - at.a * to.sigma
    return sine_B111 / at.a if prediction == "epsilon" else sine_B111


def guidance_loss(
    output_BChw: torch.Tensor,
    noise_BChw: torch.Tensor,
    good_BChw: torch.Tensor,
    bad_BChw: torch.Tensor,
    mask_B1hw: torch.Tensor,
    at: Level,
    to: Level,
    prediction: Prediction,
) -> torch.Tensor:
    """(B,): one step from the noised bad picture must end on the noised good one, in the mask.

    output_BChw: the network's for x_t^b = a_t x_0^b + σ_t ε. at, to: levels of t and of an earlier
    s; `to` without noise (a = 1, σ = 0) is the x_0 form. The formula of arXiv 2406.17100 is not
    public; this is raypipe's reading of its abstract.

    A deterministic (DDIM) step is Φ = a_s x̂_0 + σ_s ε̂, where x̂_0 and ε̂ are the output's
    estimates for x_t. For ε, x̂_0 = (x_t − σ_t ε̂) / a_t, so Φ is linear in ε̂ with slope −κ,

        κ = a_s σ_t / a_t − σ_s = (a_s σ_t − a_t σ_s) / a_t.

    The true ε would lead to x_s^b, and x_s^b − x_s^g = a_s (x_0^b − x_0^g), as both hold the same
    noise. Hence

        Φ − x_s^g = κ (ε − ε̂) + a_s (x_0^b − x_0^g).

    For v, x̂_0 = a_t x_t − σ_t v̂ and ε̂ = σ_t x_t + a_t v̂, so κ = a_s σ_t − a_t σ_s: the same line
    holds with v in place of ε, and nothing is divided by a_t. With a = cos φ and σ = sin φ it is
    κ = sin(φ_t − φ_s), and sin(φ_t − φ_s) / cos φ_t for ε.

    So the loss is 0 at ε* = ε + (a_s / κ)(x_0^b − x_0^g); in the x_0 form that is
    (x_t^b − a_t x_0^g) / σ_t, the noise that would make x_t^b of the good picture. With
    x_0^b = x_0^g it is κ² times the masked denoising loss.

    For ε, κ grows without limit as a_t → 0 (15 at the last step of Stable Diffusion, in the x_0
    form), and those rows would outweigh all others by its square. So the error is scaled by
    min(κ, BOUND) / κ: what is minimised there is the error of ε about the same ε*, with weight
    BOUND². Of v, κ ≤ 1 as it is. Dividing by κ throughout would not do, since ε* is far off where
    κ is small.
    """
    if prediction == "epsilon":
        kappa_B111 = guidance_scale(at, to, prediction)
        factor_B111 = kappa_B111.clamp(max=BOUND)
        part_B111 = (BOUND / kappa_B111).clamp(max=1.0)
    else:
        factor_B111 = guidance_scale(at, to, prediction)
        part_B111 = torch.ones_like(factor_B111)
    own_BChw = target(bad_BChw, noise_BChw, at, prediction)
    gap_BChw = to.a * (bad_BChw - good_BChw)
    error_BChw = factor_B111 * (own_BChw - output_BChw) + part_B111 * gap_BChw
    return masked_mean(error_BChw.square(), mask_B1hw)


def dpo_loss(
    good_B: torch.Tensor,
    bad_B: torch.Tensor,
    base_good_B: torch.Tensor,
    base_bad_B: torch.Tensor,
    beta: float,
) -> torch.Tensor:
    """(B,): Diffusion-DPO (arXiv 2311.12908, equation 14), −log σ of the preference.

    good_B, bad_B: `squared_error` of both sides, at one t and ε; base_…: of the base model. Half
    a squared error is minus the log of a Gaussian likelihood, but for a factor that β takes up
    together with T ω(λ_t), so the preference of the network over the base is

        −(β / 2) ((good − base_good) − (bad − base_bad)).

    A network that is its base, or β → 0, sits at ln 2. Errors are means over C × h × w, as in the
    authors' code, whose β of 2000 to 5000 is meant for them.
    """
    margin_B = (good_B - base_good_B) - (bad_B - base_bad_B)
    return functional.softplus(0.5 * beta * margin_B)


def min_snr_weights(at: Level, prediction: Prediction) -> torch.Tensor:
    """(B,): weights of the squared error that give x_0's error the weight min(SNR, γ).

    SNR = a² / σ². An error of x_0 is σ / a times one of ε and σ times one of v, so the weights are
    min(SNR, γ) / SNR = min(1, γ σ² / a²) for ε, and σ² min(SNR, γ) = min(a², γ σ²) for v.
    """
    a_B, sigma_B = at.a.flatten().square(), at.sigma.flatten().square()
    if prediction == "epsilon":
        return (SNR_CAP * sigma_B / a_B).clamp(max=1.0)
    return torch.minimum(a_B, SNR_CAP * sigma_B)
