"""Means over things that come in clusters, such as pairs of pictures made of one photo.

Shape letters: M pairs, K clusters, B resamples.
"""

import numpy as np
from numpy.typing import ArrayLike

from raypipe.core.bootstrap import bca_ends, chunks
from raypipe.core.estimates import Estimate, Significance
from raypipe.core.pairs import FloatArray

EXACT_CLUSTERS = 14
"""Up to this many clusters all sign patterns are taken, 2^14 of them."""


def cluster_sums(values: ArrayLike, clusters: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Sum and number of each cluster's values, (M,) and (M,) → (K,) and (K,).

    ValueError for values that are not finite, and for lengths that differ.
    """
    x_M = np.asarray(values, dtype=np.float64)
    labels_M = np.asarray(clusters)
    if x_M.ndim != 1 or labels_M.shape != x_M.shape or not len(x_M):
        raise ValueError(
            f"values and clusters must be rows of one length, got {x_M.shape} and {labels_M.shape}"
        )
    if not np.isfinite(x_M).all():
        raise ValueError(f"values must be finite, got {x_M[~np.isfinite(x_M)][0]}")
    _, index_M, counts_K = np.unique(labels_M, return_inverse=True, return_counts=True)
    sums_K = np.bincount(index_M, weights=x_M).astype(np.float64)
    return sums_K, counts_K.astype(np.float64)


def bootstrap_clusters(
    sums: ArrayLike,
    counts: ArrayLike,
    *,
    seed: int,
    resamples: int = 9999,
    confidence: float = 0.95,
) -> Estimate:
    """Mean of all values, Σ sums / Σ counts, with its BCa interval over clusters, (K,) and (K,).

    Whole clusters are drawn with replacement, so values inside one may depend on each other. With
    θ the mean of all values and θ_c that without cluster c, the acceleration is the jackknife's,
    a = Σ(θ̄ - θ_c)³ / (6 (Σ(θ̄ - θ_c)²)^1.5). Clusters of one value each give `bootstrap_mean`.
    Source: Efron and Tibshirani 1993, chapter 14; Field and Welsh 2007 on clusters.

    One cluster has no interval; clusters with equal means have an interval of length zero.
    """
    s_K = np.asarray(sums, dtype=np.float64)
    n_K = np.asarray(counts, dtype=np.float64)
    mean = float(s_K.sum() / n_K.sum())
    if len(s_K) < 2:
        return Estimate(mean, None, None, "an interval over photos needs two or more photos")
    if np.ptp(s_K / n_K) == 0:
        return Estimate(mean, mean, mean)
    centred_K = s_K - mean * n_K
    shifts_B = _resampled_shifts(centred_K, n_K, seed=seed, resamples=resamples)
    without_K = (s_K.sum() - s_K) / (n_K.sum() - n_K)
    pull_K = without_K.mean() - without_K
    spread = (pull_K**2).sum()
    acceleration = (pull_K**3).sum() / (6 * spread**1.5) if spread else 0.0
    low, high = mean + bca_ends(shifts_B, acceleration, confidence)
    return Estimate(mean, float(low), float(high))


def sign_flip(sums: ArrayLike, *, seed: int, resamples: int = 9999) -> Significance:
    """Two-sided test that two things do equally well, from each cluster's summed difference (K,).

    If they do, each cluster's difference is as likely to have the other sign: p is the share of
    sign patterns whose |sum| is at least the observed one. All patterns for up to 14 clusters with
    a difference; else `resamples` random ones, with one added to both counts. Clusters without a
    difference are left out. Differences are multiples of a half, so sums are exact.
    Source: Good 2005, "Permutation, Parametric and Bootstrap Tests of Hypotheses", section 3.7.
    """
    d_K = np.asarray(sums, dtype=np.float64)
    d_K = d_K[d_K != 0]
    name = "sign flips of whole photos"
    if not len(d_K):
        return Significance(None, None, name, "no photo on which they differ")
    observed = abs(d_K.sum())
    if len(d_K) <= EXACT_CLUSTERS:
        patterns = np.arange(2 ** len(d_K))[:, None] >> np.arange(len(d_K)) & 1
        p_value = (np.abs((2 * patterns - 1) @ d_K) >= observed).mean()
        return Significance(float(d_K.sum()), float(p_value), f"{name}, exact")
    rng = np.random.default_rng(seed)
    as_large = 0
    for size in chunks(resamples, len(d_K)):
        signs = 2.0 * rng.integers(2, size=(size, len(d_K))) - 1
        as_large += int((np.abs(signs @ d_K) >= observed).sum())
    p_value = (as_large + 1) / (resamples + 1)
    return Significance(float(d_K.sum()), p_value, f"{name}, {resamples} random patterns")


def _resampled_shifts(
    centred_K: FloatArray, counts_K: FloatArray, *, seed: int, resamples: int
) -> FloatArray:
    """Mean of `resamples` draws of clusters, minus the mean of all → (B,)."""
    rng = np.random.default_rng(seed)
    n = len(centred_K)
    parts = []
    for size in chunks(resamples, n):
        drawn = rng.integers(n, size=(size, n))
        parts.append(centred_K[drawn].sum(axis=1) / counts_K[drawn].sum(axis=1))
    return np.concatenate(parts)
