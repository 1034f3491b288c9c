"""A/A check: one model against itself, on two halves of its seeds. How often is that "different"?

Shape letters: P prompts, M pairs of images, N seeds, R splits.
"""

from dataclasses import dataclass

import numpy as np
import scipy
from numpy.typing import ArrayLike

from raypipe.core.differences import FEW_SEEDS, Design, compare_pairs
from raypipe.core.pairs import n_images_of


@dataclass(frozen=True)
class SplitHalf:
    """How often the rule of the verdict finds a difference between a model and itself."""

    n_prompts: int
    seeds_per_half: int
    splits: int
    significant: int
    alpha: float
    rate: float
    """significant / splits: alpha, on average, if the rule keeps its promise on these scores."""
    low: float
    high: float
    """Exact binomial interval (95 %) of the rate, too narrow: see split_half."""


def split_half(
    pairs: ArrayLike,
    *,
    seed: int,
    splits: int = 200,
    alpha: float = 0.05,
    design: Design = "crossed",
) -> SplitHalf:
    """Split the seeds at random into two disjoint halves and compare them; `splits` times over.

    pairs: pair scores (P, M) of one model, P prompts that have all seeds. All prompts share one
    split, as they share seeds in a real comparison; an odd seed is left out. The halves are
    compared as two models are (differences.py); a split that gives no p-value counts as not
    significant.

    The splits reuse the same images, so they are not independent: the binomial interval treats
    them as if they were and is too narrow. N seeds have few distinct splits when N is small (35
    for 8, 92,378 for 20). ValueError for too few seeds: six, or four in a nested design.
    """
    s_PM = np.asarray(pairs, dtype=np.float64)
    n_seeds = n_images_of(s_PM.shape[1])
    fewest = 2 * (FEW_SEEDS if design == "crossed" else 2)
    if n_seeds < fewest:
        raise ValueError(f"two halves need {fewest} or more seeds, got {n_seeds}")
    half = n_seeds // 2
    rows, columns = np.tril_indices(n_seeds, -1)
    pair_NN = np.zeros((n_seeds, n_seeds), dtype=np.intp)
    pair_NN[rows, columns] = pair_NN[columns, rows] = np.arange(len(rows))
    first, second = np.tril_indices(half, -1)
    rng = np.random.default_rng(seed)
    significant = 0
    for _ in range(splits):
        order_N = rng.permutation(n_seeds)
        halves = [
            s_PM[:, pair_NN[own[first], own[second]]]
            for own in (np.sort(order_N[:half]), np.sort(order_N[half : 2 * half]))
        ]
        p_value = compare_pairs(halves[0], halves[1], design=design, alpha=alpha).p_value
        significant += p_value is not None and p_value < alpha
    interval = scipy.stats.binomtest(significant, splits).proportion_ci(0.95)
    return SplitHalf(
        n_prompts=len(s_PM),
        seeds_per_half=half,
        splits=splits,
        significant=significant,
        alpha=alpha,
        rate=significant / splits,
        low=float(interval.low),
        high=float(interval.high),
    )
