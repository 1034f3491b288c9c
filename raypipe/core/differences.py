"""The rule of every verdict: a mean difference between two models, with the noise of its seeds.

What is estimated is the mean over prompts of score a - score b for the population of prompts *and
of seeds*: a reader generalises to other seeds, so that what one seed does to all prompts alike is
noise, and does not average out over prompts that share their seeds.

Shape letters: P prompts, N seeds, M = N(N-1)/2 pairs of a prompt's pictures (see pairs.py).

Each picture of prompt p and seed i has a value psi_pi whose mean over i is the prompt's difference
D_p. For scores of single pictures it is the difference itself. For pair scores d_p,ij, with r_pi =
sum over j of d_p,ij, it is the jackknife's pseudo-value  psi_pi = (2 r_pi - n D_p) / (n - 2):
n D_p - (n - 1) D_p(without i), less the constant that makes its mean D_p.

Crossed design (all prompts share the seeds), without missing pictures:

- V_P = sum_p (D_p - D)^2 / (P(P-1)): the spread over prompts, which holds their own pictures' noise
- V_S = sum_i (psi_.i - D)^2 / (N(N-1)): the spread over seeds
- V_PS = sum_pi (psi_pi - D_p - psi_.i + D)^2 / (P N (P-1)(N-1)): what V_S is by chance
- V = V_P + max(0, V_S - V_PS), t = D / sqrt(V), with Satterthwaite's degrees of freedom
  V^2 / (V_P^2/(P-1) + [V_S > V_PS] (V_S^2/(N-1) + V_PS^2/((P-1)(N-1))))

Nested design (every prompt has seeds of its own): V = V_P with P - 1 degrees of freedom.

Sources: the two-way analysis of variance with random prompts and seeds (Searle, Casella and
McCulloch 1992, chapter 4); pseudo-values of U-statistics (Arvesen 1969); Satterthwaite 1946. Its
rate of false verdicts is what `make calibrate` prints, where it fails included.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from raypipe.core.pairs import FloatArray, n_images_of

Design = Literal["crossed", "nested"]

FEW_SEEDS = 3
"""Shared seeds that a crossed comparison needs."""

ROUNDING = 1e-12
"""A standard error below this share of the largest score is rounding, not a spread."""


@dataclass(frozen=True)
class Variance:
    """The parts of the variance of a mean difference, in squared units of the score."""

    prompts: float | None
    seeds: float | None
    """Of the shared seeds, chance included; None in a nested design."""
    interaction: float | None
    """What `seeds` would be by chance alone; None in a nested design."""

    def __getitem__(self, part: str) -> float | None:
        value: float | None = getattr(self, part)
        return value


@dataclass(frozen=True)
class Difference:
    """A mean difference a - b over prompts and seeds, in units of the score."""

    mean: float | None
    """None where no prompt counts."""
    low: float | None
    """Lower end of its interval of level 1 - alpha; with `high`, None where `reason` says why."""
    high: float | None
    p_value: float | None
    """Two-sided, of a mean difference of zero."""
    df: float | None
    """Degrees of freedom of the t-distribution that it is held against."""
    variance: Variance
    n_prompts: int
    """Prompts that count."""
    n_seeds: int | None
    """Seeds that are still there; None in a nested design."""
    left_out: int
    """Prompts with too few pictures that both models have."""
    design: Design
    alpha: float
    reason: str | None = None
    """Why there is no interval."""

    @property
    def se(self) -> float | None:
        """Standard error of `mean`; None where there is no interval."""
        if self.low is None or self.high is None or self.df is None:
            return None
        return float((self.high - self.low) / 2 / stats.t.isf(self.alpha / 2, self.df))


def compare_pairs(
    pairs_a: ArrayLike, pairs_b: ArrayLike, *, design: Design = "crossed", alpha: float = 0.05
) -> Difference:
    """Compare two models by the scores of their pairs of pictures.

    pairs_a, pairs_b: (P, M) in the order of pairs.py, NaN for each pair of which a picture is
    missing. What both models have counts, and each prompt equally; prompts with fewer than three
    common pictures (two, in a nested design) are left out. ValueError for other shapes, a score
    that is infinite, and a NaN where no picture is missing.
    """
    a_PM, b_PM = _aligned(pairs_a, pairs_b)
    n = n_images_of(a_PM.shape[1])
    rows, columns = np.tril_indices(n, -1)
    both_PN = _pictures(a_PM, n) & _pictures(b_PM, n)
    d_PM = np.where(both_PN[:, rows] & both_PN[:, columns], a_PM - b_PM, 0.0)
    r_PN = np.zeros((len(d_PM), n))
    for i in range(n):  # row by row: a sum's last digit must not depend on the other prompts
        r_PN[:, i] = d_PM[:, (rows == i) | (columns == i)].sum(axis=1)
    return _of_sums(r_PN, both_PN, _largest(a_PM, b_PM), design, alpha)


def compare_sums(
    sums_a: ArrayLike, sums_b: ArrayLike, *, design: Design = "crossed", alpha: float = 0.05
) -> Difference:
    """`compare_pairs` from each picture's sum of pair scores, for runs too large to keep pairs.

    sums_a, sums_b: (P, N) sum over the prompt's other pictures that both models have; NaN, in
    both, for a picture that one of them lacks.
    """
    a_PN, b_PN = _aligned(sums_a, sums_b)
    both_PN = ~np.isnan(a_PN)
    if (both_PN != ~np.isnan(b_PN)).any():
        raise ValueError("sums must be over the pictures that both models have: NaNs differ")
    r_PN = np.where(both_PN, a_PN - b_PN, 0.0)
    largest = _largest(a_PN, b_PN) / max(1, a_PN.shape[1] - 1)
    return _of_sums(r_PN, both_PN, largest, design, alpha)


def compare_scores(
    scores_a: ArrayLike, scores_b: ArrayLike, *, design: Design = "crossed", alpha: float = 0.05
) -> Difference:
    """Compare two models by scores of single pictures, such as a reward.

    scores_a, scores_b: (P, N), NaN for a picture without a score. Prompts with fewer than two
    common pictures (one, in a nested design) are left out. Errors: see compare_pairs.
    """
    a_PN, b_PN = _aligned(scores_a, scores_b)
    both_PN = ~(np.isnan(a_PN) | np.isnan(b_PN))
    d_PN = np.where(both_PN, a_PN - b_PN, 0.0)
    counts = both_PN.sum(axis=1) >= (2 if design == "crossed" else 1)
    mean_P = d_PN.sum(axis=1) / np.maximum(both_PN.sum(axis=1), 1)
    return _estimate(mean_P, d_PN, both_PN, counts, _largest(a_PN, b_PN), design, alpha)


def _of_sums(
    r_PN: FloatArray, both_PN: Any, largest: float, design: Design, alpha: float
) -> Difference:
    """From each picture's sum of differences over its pairs; 0 where it is missing."""
    n_P = both_PN.sum(axis=1)
    mean_P = r_PN.sum(axis=1) / np.maximum(n_P * (n_P - 1), 1)
    few_seeds = both_PN.any(axis=0).sum() < FEW_SEEDS  # for no verdict, but the mean is there
    counts = n_P >= (2 if design == "nested" or few_seeds else 3)
    psi_PN = (2 * r_PN - (n_P * mean_P)[:, None]) / np.maximum(n_P - 2, 1)[:, None]
    return _estimate(mean_P, psi_PN, both_PN, counts, largest, design, alpha)


def _estimate(
    mean_P: FloatArray,
    psi_PN: FloatArray,
    both_PN: Any,
    counts: Any,
    largest: float,
    design: Design,
    alpha: float,
) -> Difference:
    """The rule, from the prompts' differences and their pictures' values."""
    if design not in ("crossed", "nested"):
        raise ValueError(f"design must be crossed or nested, got {design!r}")
    if not 0 < alpha < 1:
        raise ValueError(f"alpha must lie between 0 and 1, got {alpha}")
    left_out = int((~counts).sum())
    present = both_PN[counts] if counts.any() else both_PN
    n_seeds = int(present.any(axis=0).sum()) if design == "crossed" else None
    mean_P, psi_PN, both_PN = mean_P[counts], psi_PN[counts], both_PN[counts]
    n_prompts = len(mean_P)
    mean = float(mean_P.mean()) if n_prompts else None

    def undefined(reason: str, variance: Variance) -> Difference:
        none = (None, None, None, None)
        return Difference(
            mean, *none, variance, n_prompts, n_seeds, left_out, design, alpha, reason
        )

    unknown = Variance(None, None, None)
    if n_seeds is not None and 0 < n_seeds < FEW_SEEDS:
        rule = f"what a shared seed does shows with {FEW_SEEDS} seeds or more, got {n_seeds}"
        return undefined(rule, unknown)
    if not n_prompts:
        return undefined("no prompt has enough pictures that both models have", unknown)
    if n_prompts == 1:
        return undefined("one prompt shows no spread over prompts", unknown)
    v_p = float(mean_P.var(ddof=1)) / n_prompts
    v_s = v_ps = None
    df = float(n_prompts - 1)
    v = v_p
    if design == "crossed":
        v_s, v_ps, df_ps = _seed_variances(mean_P, psi_PN, both_PN)
        assert n_seeds is not None
        v = v_p + max(0.0, v_s - v_ps)
        spread = v_p**2 / (n_prompts - 1)
        if v_s > v_ps:
            spread += v_s**2 / (n_seeds - 1) + v_ps**2 / df_ps
        df = v**2 / spread if spread > 0 else df
    variance = Variance(v_p, v_s, v_ps)
    if v <= (ROUNDING * largest) ** 2:
        return undefined("the difference is the same for all prompts and seeds", variance)
    se = v**0.5
    assert mean is not None
    half = float(stats.t.isf(alpha / 2, df)) * se
    p_value = float(2 * stats.t.sf(abs(mean) / se, df))
    return Difference(
        mean,
        mean - half,
        mean + half,
        p_value,
        df,
        variance,
        n_prompts,
        n_seeds,
        left_out,
        design,
        alpha,
    )


def _seed_variances(
    mean_P: FloatArray, psi_PN: FloatArray, both_PN: Any
) -> tuple[float, float, float]:
    """V_S, V_PS and its degrees of freedom, where pictures may be missing.

    Seed i reaches the mean through its pictures, each with a weight of about 1 / (P n_p). Their
    values are taken around their own prompt's mean, so that a prompt's level does not pass for the
    effect of the seeds that it has. Without missing pictures these are the formulas above.
    """
    there = both_PN.any(axis=0)
    e_PN = np.where(both_PN, psi_PN - mean_P[:, None], 0.0)[:, there]
    both_PN = both_PN[:, there]
    n_P, p_N = both_PN.sum(axis=1), both_PN.sum(axis=0)
    n_prompts, n_seeds = both_PN.shape
    # a value around its prompt's mean of n_p is short by (n_p - 1) / n_p: hence n_p - 1
    weight_P = 1 / (n_prompts * (n_P - 1))
    shrink = (n_seeds - 1) / n_seeds
    reach_N = weight_P @ e_PN
    v_s = shrink * float((reach_N**2).sum())
    rest_PN = np.where(both_PN, e_PN - e_PN.sum(axis=0) / p_N, 0.0)
    own_N = p_N / np.maximum(p_N - 1, 1)
    v_ps = shrink * float(((weight_P[:, None] * rest_PN) ** 2 * own_N).sum())
    return v_s, v_ps, float((n_prompts - 1) * (n_seeds - 1))


def _aligned(a: ArrayLike, b: ArrayLike) -> tuple[FloatArray, FloatArray]:
    x, y = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if x.ndim != 2 or x.shape != y.shape:
        raise ValueError(
            f"scores of two models must be tables of one shape, got {x.shape} and {y.shape}"
        )
    for values in (x, y):
        if np.isinf(values).any():
            raise ValueError("scores must be finite, or NaN for a missing picture, got infinity")
    return x, y


def _pictures(s_PM: FloatArray, n: int) -> Any:
    """Which pictures are there (P, N): those of which some pair has a score."""
    rows, columns = np.tril_indices(n, -1)
    has_PM = ~np.isnan(s_PM)
    there_PN = np.stack(
        [has_PM[:, (rows == i) | (columns == i)].any(axis=1) for i in range(n)], axis=1
    )
    if (has_PM != (there_PN[:, rows] & there_PN[:, columns])).any():
        raise ValueError("a pair is NaN though both of its pictures have other pairs")
    return there_PN


def _largest(*tables: FloatArray) -> float:
    values = [np.nanmax(np.abs(x)) for x in tables if x.size and not np.isnan(x).all()]
    return float(max(values, default=0.0))
