"""A/A check: one model against itself, on two halves of its seeds. How often is that "different"?

Shape letters: P prompts, M pairs of images, N seeds, R splits.
"""

from dataclasses import dataclass

import numpy as np
import scipy
from numpy.typing import ArrayLike, NDArray

from raypipe.core.paired import wilcoxon
from raypipe.core.pairs import FloatArray, n_images_of

SPLITS_AT_A_TIME = 32


@dataclass(frozen=True)
class SplitHalf:
    """How often the Wilcoxon test finds a difference between a model and itself."""

    n_prompts: int
    seeds_per_half: int
    splits: int
    significant: int
    alpha: float
    rate: float
    """significant / splits: alpha if the test keeps its promise on these scores."""
    low: float
    high: float
    """Exact binomial interval (95 %) of the rate, too narrow: see split_half."""


def split_half(pairs: ArrayLike, *, seed: int, splits: int = 200, alpha: float = 0.05) -> SplitHalf:
    """Split the seeds at random into two disjoint halves, score both, test; `splits` times over.

    pairs: pair scores (P, M) of one model, P prompts that have all seeds. All prompts share one
    split, as they share seeds in a real comparison; an odd seed is left out. A split whose
    differences are all zero counts as not significant.

    The splits reuse the same images, so they are not independent: the binomial interval treats
    them as if they were and is too narrow. N seeds have few distinct splits when N is small (35
    for 8, 92,378 for 20). ValueError for fewer than four seeds.
    """
    s_PM = np.asarray(pairs, dtype=np.float64)
    n_seeds = n_images_of(s_PM.shape[1])
    if n_seeds < 4:
        raise ValueError(f"two halves need four or more seeds, got {n_seeds}")
    rng = np.random.default_rng(seed)
    significant = 0
    for start in range(0, splits, SPLITS_AT_A_TIME):
        size = min(SPLITS_AT_A_TIME, splits - start)
        weights_RM = np.stack([_half_minus_half(rng.permutation(n_seeds)) for _ in range(size)])
        for d_P in weights_RM @ s_PM.T:
            p_value = wilcoxon(d_P).p_value
            significant += p_value is not None and p_value < alpha
    interval = scipy.stats.binomtest(significant, splits).proportion_ci(0.95)
    return SplitHalf(
        n_prompts=len(s_PM),
        seeds_per_half=n_seeds // 2,
        splits=splits,
        significant=significant,
        alpha=alpha,
        rate=significant / splits,
        low=float(interval.low),
        high=float(interval.high),
    )


def _half_minus_half(order_N: NDArray[np.int64]) -> FloatArray:
    """Weights (M,) of pair scores that give SCS(first half) - SCS(second half)."""
    half = len(order_N) // 2
    side_N = np.zeros(len(order_N))
    side_N[order_N[:half]], side_N[order_N[half : 2 * half]] = 1, -1
    first_M, second_M = np.tril_indices(len(order_N), -1)
    same_M = (side_N[first_M] == side_N[second_M]) * side_N[first_M]
    return np.asarray(same_M / (half * (half - 1) / 2))
