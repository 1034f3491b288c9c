"""Bootstrap intervals over prompts. Shape letters: P prompts, B resamples."""

from collections.abc import Iterator

import numpy as np
import scipy
from numpy.typing import ArrayLike

from raypipe.core.estimates import Estimate
from raypipe.core.pairs import FloatArray

CHUNK_DRAWS = 2**20
"""Draws held at a time: bounds memory, and does not change the result."""


def bootstrap_mean(
    values: ArrayLike, *, seed: int, resamples: int = 9999, confidence: float = 0.95
) -> Estimate:
    """Mean over prompts with its BCa bootstrap interval, values (P,), one per prompt.

    Bias z0 = Φ⁻¹(share of resampled means below the mean, ties counted half). For a mean the
    jackknife acceleration is closed: a = Σ(x - x̄)³ / (6 (Σ(x - x̄)²)^1.5). The interval's ends are
    the quantiles Φ(z0 + (z0 ± z) / (1 - a (z0 ± z))) of the resampled means.
    Source: Efron and Tibshirani 1993, chapter 14.

    One value has no interval; equal values have an interval of length zero.
    """
    x_P = np.asarray(values, dtype=np.float64)
    mean = float(x_P.mean())
    if len(x_P) < 2:
        return Estimate(mean, None, None, "an interval over prompts needs two or more prompts")
    centred_P = x_P - mean
    if np.ptp(x_P) == 0:
        return Estimate(mean, mean, mean)
    means_B = resampled_means(centred_P, seed=seed, resamples=resamples)
    acceleration = (centred_P**3).sum() / (6 * (centred_P**2).sum() ** 1.5)
    low, high = mean + bca_ends(means_B, acceleration, confidence)
    return Estimate(mean, float(low), float(high))


def bca_ends(shifts_B: FloatArray, acceleration: float, confidence: float) -> FloatArray:
    """Both ends of a BCa interval, as shifts of the estimate, from those of its resamples (B,)."""
    n = len(shifts_B)
    below = ((shifts_B < 0).mean() + (shifts_B <= 0).mean()) / 2
    z0 = scipy.special.ndtri(np.clip(below, 1 / (n + 1), n / (n + 1)))
    z = z0 + scipy.special.ndtri([(1 - confidence) / 2, (1 + confidence) / 2])
    levels = scipy.special.ndtr(z0 + z / (1 - acceleration * z))
    return np.asarray(np.quantile(shifts_B, levels))


def percentile_ends(values_B: FloatArray, confidence: float) -> tuple[float, float]:
    """Both ends of the percentile interval of resampled values (B,)."""
    low, high = np.quantile(values_B, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def chunks(resamples: int, n: int) -> Iterator[int]:
    """Numbers that sum to `resamples`: how many resamples of n things are drawn at a time."""
    step = max(1, CHUNK_DRAWS // n)
    for start in range(0, resamples, step):
        yield min(step, resamples - start)


def resampled_means(values_P: FloatArray, *, seed: int, resamples: int) -> FloatArray:
    """Means of `resamples` samples of P values drawn with replacement → (B,)."""
    rng = np.random.default_rng(seed)
    n = len(values_P)
    draws = (rng.integers(n, size=(size, n)) for size in chunks(resamples, n))
    return np.concatenate([values_P.take(drawn_BP).mean(axis=1) for drawn_BP in draws])
