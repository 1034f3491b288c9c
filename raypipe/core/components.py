"""Where the noise of a difference comes from, and what a study of another size would have of it.

Shape letters: P prompts, N seeds, M = N(N-1)/2 pairs.

A pair's difference is  d_p,ij = D + b_p + g_i + g_j + e_pi + e_pj + h_pij: the true difference, the
prompt's own, the shared seeds', the pictures' and the pair's noise. Within a prompt, a U-statistic
of degree two has two components, zeta_1 = Var(e) and zeta_2 = Var(e_i + e_j + h_ij), and the
variance  W(N) = (4 (N - 2) zeta_1 + 2 zeta_2) / (N (N - 1))  (Hoeffding 1948): 1/N alone would
understate N = 2, where pairs are few.

The mean over prompts then has the variance (between + W(N)) / P + shared(N), where shared(N) =
4 Var(g) / N does not fall with more prompts. Where each prompt has seeds of its own, shared(N) is
a prompt's own too: (between + W(N) + shared(N)) / P.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from raypipe.core.differences import Design, compare_pairs
from raypipe.core.pairs import FloatArray, n_images_of

QUANTILES = 64
"""Of the spread over seeds, that expectations are taken over."""

COMPONENT_SEEDS = 4
"""Seeds that the components need: two disjoint pairs."""


@dataclass(frozen=True)
class Components:
    """Parts of the variance, in squared units of the score; estimates, floored at zero."""

    between: float
    """Of the prompts' true differences."""
    zeta_1: float
    """Of a picture's own noise, twice counted in a pair's."""
    zeta_2: float
    """Of a pair's whole noise."""
    seed: float
    """Of a shared seed's noise: Var(g)."""

    def within(self, seeds: int) -> float:
        """W(N): variance of one prompt's difference, its pictures apart from the shared seeds.

        >>> Components(between=0, zeta_1=1, zeta_2=3, seed=0).within(2)
        3.0
        """
        n = seeds
        return (4 * (n - 2) * self.zeta_1 + 2 * self.zeta_2) / (n * (n - 1))

    def shared(self, seeds: int) -> float:
        """Variance that the seeds give to a prompt's difference, the same to each that has them."""
        return 4 * self.seed / seeds

    def variance(self, prompts: int, seeds: int, design: Design) -> float:
        """Variance of the mean difference over prompts."""
        if design == "nested":
            return (self.between + self.within(seeds) + self.shared(seeds)) / prompts
        return (self.between + self.within(seeds)) / prompts + self.shared(seeds)

    def half_widths(self, prompts: int, seeds: int, design: Design, alpha: float) -> FloatArray:
        """Half-widths that the rule's interval may have, equally likely ones.

        In a crossed design V_S is seen through few seeds, shared(N) + W(N) / P times chi-squared
        over N - 1, and counts only where it exceeds what chance gives: the rule is wider than
        `variance` says, the more so the fewer the seeds.
        """
        variance = self.variance(prompts, seeds, design)
        if design == "nested":
            return np.array([stats.t.isf(alpha / 2, prompts - 1) * variance**0.5])
        own = (self.between + self.within(seeds)) / prompts
        chance = self.within(seeds) / prompts
        levels_K = (np.arange(QUANTILES) + 0.5) / QUANTILES
        v_s_K = (self.shared(seeds) + chance) * stats.chi2.ppf(levels_K, seeds - 1) / (seeds - 1)
        beyond_K = np.maximum(0.0, v_s_K - chance)
        spread_K = own**2 / (prompts - 1) + np.where(
            beyond_K > 0,
            v_s_K**2 / (seeds - 1) + chance**2 / ((prompts - 1) * (seeds - 1)),
            0.0,
        )
        v_K = own + beyond_K
        df_K = np.where(spread_K > 0, v_K**2 / np.where(spread_K > 0, spread_K, 1), prompts - 1)
        return np.asarray(stats.t.isf(alpha / 2, df_K) * np.sqrt(v_K))


def variance_components(pair_differences: ArrayLike, design: Design = "crossed") -> Components:
    """Split the noise of a study, pair_differences (P, M): scores of a minus those of b.

    Unbiased before the floor: products of pairs that share one picture, less those of pairs that
    share none, give the noise of a picture. In a crossed design the shared seeds' part is what the
    spread over seeds has beyond chance (differences.py); a nested one cannot tell it from the
    pictures' noise, and leaves it there. ValueError for one prompt, or fewer than four seeds.
    """
    d_PM = np.asarray(pair_differences, dtype=np.float64)
    n, n_prompts = n_images_of(d_PM.shape[1]), len(d_PM)
    if n_prompts < 2 or n < COMPONENT_SEEDS:
        raise ValueError(
            f"components need two or more prompts and {COMPONENT_SEEDS} or more seeds, "
            f"got {n_prompts} and {n}"
        )
    zeta_1, zeta_2 = _pair_moments(d_PM - d_PM.mean(), n)
    seed = 0.0
    if design == "crossed":
        parts = compare_pairs(d_PM, np.zeros_like(d_PM)).variance
        assert parts.seeds is not None
        assert parts.interaction is not None
        seed = min(max(0.0, (parts.seeds - parts.interaction) * n / 4), zeta_1)
    own = Components(0.0, zeta_1 - seed, zeta_2 - 2 * seed, seed)
    between = max(0.0, float(d_PM.mean(axis=1).var(ddof=1)) - own.within(n))
    return Components(between, own.zeta_1, own.zeta_2, seed)


def _pair_moments(d_PM: FloatArray, n: int) -> tuple[float, float]:
    """(zeta_1, zeta_2), shared seeds included, from sums of products over a prompt's pairs."""
    n_pairs = d_PM.shape[1]
    rows, columns = np.tril_indices(n, -1)
    r_PN = np.stack([d_PM[:, (rows == i) | (columns == i)].sum(axis=1) for i in range(n)], axis=1)
    squares_P = (d_PM**2).sum(axis=1)
    touching_P = (r_PN**2).sum(axis=1) - 2 * squares_P
    apart_P = d_PM.sum(axis=1) ** 2 - squares_P - touching_P
    touching = touching_P.mean() / (n * (n - 1) * (n - 2))
    apart = apart_P.mean() / (n_pairs * (n - 2) * (n - 3) / 2)
    zeta_1 = max(0.0, float(touching - apart))
    zeta_2 = float(squares_P.mean() / n_pairs - apart)
    return zeta_1, max(2 * zeta_1, zeta_2)
