"""How far apart are two sets of pictures? Fréchet and kernel distances between their features.

A set of any size is its `Moments`, which are gathered in pieces and merged in any order; the
kernel distance needs the features themselves.

Shape letters: N, M pictures, D feature dimensions, S subsets.
"""

from dataclasses import dataclass

import numpy as np
import scipy
from numpy.typing import ArrayLike

from raypipe.core.estimates import Estimate
from raypipe.core.pairs import FloatArray


@dataclass(frozen=True)
class Moments:
    """Number, mean and scatter of feature vectors; `a.merge(b)` is those of both together."""

    n: int
    mean_D: FloatArray
    scatter_DD: FloatArray
    """Σ (x - mean)(x - mean)ᵀ, not yet divided."""

    @classmethod
    def of(cls, features: ArrayLike) -> "Moments":
        """Moments of one piece, features (N, D). ValueError for none and for non-finite ones."""
        x_ND = _features(features)
        mean_D = x_ND.mean(axis=0)
        centred_ND = x_ND - mean_D
        return cls(len(x_ND), mean_D, centred_ND.T @ centred_ND)

    def merge(self, other: "Moments") -> "Moments":
        """Moments of two disjoint pieces together, centred throughout.

        Source: Chan, Golub and LeVeque 1979, on updating sample variances.
        """
        if self.mean_D.shape != other.mean_D.shape:
            raise ValueError(
                f"features must have one length, got {len(self.mean_D)} and {len(other.mean_D)}"
            )
        n = self.n + other.n
        gap_D = other.mean_D - self.mean_D
        scatter_DD = self.scatter_DD + other.scatter_DD
        scatter_DD = scatter_DD + np.outer(gap_D, gap_D) * (self.n * other.n / n)
        return Moments(n, self.mean_D + gap_D * (other.n / n), scatter_DD)

    def covariance(self) -> FloatArray:
        """Covariance (D, D), with n - 1 in the denominator. ValueError for one picture."""
        if self.n < 2:
            raise ValueError(f"a covariance needs two or more pictures, got {self.n}")
        return self.scatter_DD / (self.n - 1)


def frechet_distance(a: Moments, b: Moments) -> float:
    """Squared Fréchet distance between two Gaussians with these moments; 0 or more.

        |μ_a - μ_b|² + tr Σ_a + tr Σ_b - 2 tr (Σ_a Σ_b)^½

    The last trace is Σ √λ over the eigenvalues λ of √Σ_a Σ_b √Σ_a, which is symmetric and has
    those of Σ_a Σ_b: no complex square roots. It is biased upward for small sets, and more so for
    fewer pictures than dimensions (2048): compare only values of equally many pictures.
    Source: Dowson and Landau 1982; Heusel et al. 2017.
    """
    cov_a, cov_b = a.covariance(), b.covariance()
    gap_D = a.mean_D - b.mean_D
    values_D, vectors_DD = scipy.linalg.eigh(cov_a)
    root_DD = (vectors_DD * np.sqrt(values_D.clip(min=0))) @ vectors_DD.T
    product_D = scipy.linalg.eigvalsh(root_DD @ cov_b @ root_DD)
    cross = np.sqrt(product_D.clip(min=0)).sum()
    distance = gap_D @ gap_D + np.trace(cov_a) + np.trace(cov_b) - 2 * cross
    return float(max(distance, 0.0))  # rounding may leave -1e-12 between equal sets


def kernel_distance(x: ArrayLike, y: ArrayLike) -> float:
    """Unbiased squared maximum mean discrepancy of features (N, D) and (M, D); may be negative.

        mean of k(x, x') over x ≠ x' + mean of k(y, y') over y ≠ y' - 2 mean of k(x, y),
        k(u, v) = (u·v / D + 1)³

    Source: Gretton et al. 2012, lemma 6; Bińkowski et al. 2018 for the kernel.
    """
    x_ND, y_MD = _features(x), _features(y)
    if min(len(x_ND), len(y_MD)) < 2:
        raise ValueError(f"each set needs two or more, got {len(x_ND)} and {len(y_MD)}")
    if x_ND.shape[1] != y_MD.shape[1]:
        raise ValueError(f"features must have one length, got {x_ND.shape[1]} and {y_MD.shape[1]}")
    within = [_mean_off_diagonal(_kernel(z, z)) for z in (x_ND, y_MD)]
    return float(sum(within) - 2 * _kernel(x_ND, y_MD).mean())


def kid(
    x: ArrayLike, y: ArrayLike, *, seed: int, subsets: int = 100, subset_size: int = 1000
) -> Estimate:
    """Kernel Inception distance: mean of `kernel_distance` over random subsets, without bias.

    Each subset draws `subset_size` of either side without replacement (all of the smaller side, if
    it has fewer). low and high are the 2.5 and 97.5 percentiles over subsets: how much a value of
    that many pictures moves, not a confidence interval of the mean.
    """
    x_ND, y_MD = _features(x), _features(y)
    size = min(subset_size, len(x_ND), len(y_MD))
    rng = np.random.default_rng(seed)
    values_S = [
        kernel_distance(
            x_ND[rng.choice(len(x_ND), size, replace=False)],
            y_MD[rng.choice(len(y_MD), size, replace=False)],
        )
        for _ in range(subsets)
    ]
    low, high = np.quantile(values_S, [0.025, 0.975])
    return Estimate(float(np.mean(values_S)), float(low), float(high))


def _kernel(x_ND: FloatArray, y_MD: FloatArray) -> FloatArray:
    return np.asarray((x_ND @ y_MD.T / x_ND.shape[1] + 1) ** 3)


def _mean_off_diagonal(k_NN: FloatArray) -> float:
    n = len(k_NN)
    return float((k_NN.sum() - np.trace(k_NN)) / (n * (n - 1)))


def _features(features: ArrayLike) -> FloatArray:
    x_ND = np.asarray(features, dtype=np.float64)
    if x_ND.ndim != 2 or not x_ND.size:
        raise ValueError(f"features must have shape (N, D), got {x_ND.shape}")
    if not np.isfinite(x_ND).all():
        raise ValueError(f"features must be finite, got {x_ND[~np.isfinite(x_ND)][0]}")
    return x_ND
