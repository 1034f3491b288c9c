"""Bootstrap intervals: over prompts, and over prompts and seeds together.

Shape letters: P prompts, M pairs of images, N seeds, B resamples.
"""

from collections.abc import Iterator

import numpy as np
import scipy
from numpy.typing import ArrayLike

from raypipe.core.estimates import Estimate
from raypipe.core.pairs import FloatArray, n_images_of

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


def crossed_bootstrap(
    pairs: ArrayLike, *, seed: int, resamples: int = 1999, confidence: float = 0.95
) -> Estimate:
    """Mean SCS over prompts, with an interval for other prompts *and* other seeds.

    pairs: pair scores (P, M) of one model, or the difference of two models' pair scores on the
    same prompts and seeds (the mean is linear in them). Seeds are crossed with prompts: one draw of
    seeds serves every prompt. With w_p the times prompt p was drawn and c_i those of seed i,

        mean* = 1/P Σ_p w_p · Σ_{i<j} c_i c_j d_pij / Σ_{i<j} c_i c_j

    where pairs of an image with its own copy do not occur: they would score 100. Draws of one seed
    only have no pairs and are redrawn. The interval is the percentile interval. Resampling two ways
    counts the prompt-by-seed noise more than once, so it is somewhat wide, never narrow.
    Source: Owen 2007, "The pigeonhole bootstrap".

    Prompts with a missing seed must be left out. One prompt or two seeds: no interval, with a
    reason.
    """
    d_PM = np.asarray(pairs, dtype=np.float64)
    if not np.isfinite(d_PM).all():
        raise ValueError("pair scores must be finite: leave out prompts with a missing seed")
    n_prompts, n_seeds = len(d_PM), n_images_of(d_PM.shape[1])
    mean = float(d_PM.mean())
    if n_prompts < 2 or n_seeds < 3:
        rule = "an interval over prompts and seeds needs two or more prompts and three seeds"
        return Estimate(mean, None, None, rule)
    rng = np.random.default_rng(seed)
    means = []
    for size in chunks(resamples, n_prompts):
        w_BP = np.stack([_draw_counts(rng, n_prompts) for _ in range(size)])
        c_BN = np.stack([_draw_seed_counts(rng, n_seeds) for _ in range(size)])
        means.append(_crossed_means(d_PM, w_BP, c_BN))
    return Estimate(mean, *percentile_ends(np.concatenate(means), confidence))


def _crossed_means(d_PM: FloatArray, w_BP: FloatArray, c_BN: FloatArray) -> FloatArray:
    """mean* of crossed_bootstrap for B draws of prompts and seeds → (B,)."""
    first_M, second_M = np.tril_indices(c_BN.shape[1], -1)
    v_BM = c_BN[:, first_M] * c_BN[:, second_M]
    sums_B = ((w_BP @ d_PM) * v_BM).sum(axis=1)
    return np.asarray(sums_B / (v_BM.sum(axis=1) * w_BP.sum(axis=1)))


def _draw_counts(rng: np.random.Generator, n: int) -> FloatArray:
    """How often each of n things occurs among n draws with replacement."""
    return np.bincount(rng.integers(n, size=n), minlength=n).astype(np.float64)


def _draw_seed_counts(rng: np.random.Generator, n: int) -> FloatArray:
    while True:
        counts_N = _draw_counts(rng, n)
        if counts_N.max() < n:
            return counts_N
