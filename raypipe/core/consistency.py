"""Semantic consistency score: how alike are the images that one prompt gives?

Source: "Semantic Approach to Quantifying the Consistency of Diffusion Model Image Generation"
(arXiv 2404.08799), as its public code computes it.

Shape letters: P prompts, N images of a prompt (one per seed), D embedding dimensions,
M = N(N-1)/2 pairs of images, in the order of pairs.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from raypipe.core.pairs import FloatArray, as_prompts, n_images_of, pair_score_chunks, pair_scores

TIE = 1e-4
"""Mean pair scores closer than this are equal: float32 embeddings cannot tell them apart."""


@dataclass(frozen=True)
class PromptScore:
    """Consistency of one prompt's images, on the scale 0 to 100."""

    scs: float
    """Mean pair score."""
    scs_se: float | None
    """Jackknife standard error of scs over images; None for two images, where it is undefined."""
    n_images: int
    medoid: int
    """Index of the image most like the others (highest mean pair score; ties: the first)."""
    outlier: int
    """Index of the image least like the others (lowest mean pair score; ties: the first)."""
    sums_N: FloatArray = field(compare=False, repr=False)
    """Each image's sum of pair scores: what a comparison of models needs (differences.py)."""


@dataclass(frozen=True)
class ConvergencePoint:
    """The score had only the first `n_images` seeds been drawn."""

    n_images: int
    scs: FloatArray
    """One score per prompt (P,)."""
    scs_se: FloatArray | None
    """Jackknife standard error per prompt (P,); None for two images, where it is undefined."""
    mean: float
    """Mean of scs over prompts."""
    mean_se: float | None
    """Standard error of `mean`, prompts being the sample; None for one prompt."""
    prompt_se: float | None
    """Root mean square of scs_se: how sure one prompt's score is; None for two images."""


def semantic_consistency_score(embeddings: ArrayLike) -> Any:
    """Consistency of each prompt's images: SCS = mean over i < j of max(100 cos(e_i, e_j), 0).

    The floor is applied to each pair, before averaging.

    embeddings: floats (P, N, D) or (N, D), of any non-zero length. Returns float64 (P,), or a
    scalar for (N, D), between 0 and 100. ValueError for fewer than two images, a zero vector, a
    non-finite value or another rank.

    >>> float(semantic_consistency_score([[1.0, 0.0], [2.0, 0.0], [-1.0, 0.0]]))  # 100, 0, 0
    33.333333333333336
    """
    e_PND, single = as_prompts(embeddings)
    scs_P = np.concatenate([s_PM.mean(axis=1) for s_PM in pair_score_chunks(e_PND)])
    return scs_P[0] if single else scs_P


def score_prompts(embeddings: Sequence[ArrayLike] | NDArray[Any]) -> list[PromptScore]:
    """Score many prompts; prompts may differ in their number of images.

    embeddings: (P, N, D), or one (N_p, D) array per prompt; one PromptScore each, in order. A
    prompt with fewer than two images has no score: ValueError names it, so leave such prompts out.
    """
    if isinstance(embeddings, np.ndarray) and embeddings.ndim == 3:
        return [score for s_PM in pair_score_chunks(embeddings) for score in _score_pairs(s_PM)]
    by_shape: dict[tuple[int, ...], list[int]] = {}
    arrays = [np.asarray(e_ND) for e_ND in embeddings]
    for index, e_ND in enumerate(arrays):
        if e_ND.ndim != 2 or len(e_ND) < 2:
            raise ValueError(
                f"each prompt needs two or more images, shape (N, D), "
                f"got {e_ND.shape} for prompt {index}"
            )
        by_shape.setdefault(e_ND.shape, []).append(index)
    scores: dict[int, PromptScore] = {}
    for indices in by_shape.values():
        group_PND = np.stack([arrays[index] for index in indices])
        scores.update(zip(indices, score_prompts(group_PND), strict=True))
    return [scores[index] for index in range(len(arrays))]


def image_scores(embeddings: ArrayLike) -> FloatArray:
    """How alike each image of a prompt is to the others: mean pair score, (N, D) → (N,).

    The mean over the images is the prompt's SCS. Errors: see semantic_consistency_score.

    >>> image_scores([[1.0, 0.0], [2.0, 0.0], [-1.0, 0.0]]).tolist()
    [50.0, 50.0, 0.0]
    """
    e_ND = np.asarray(embeddings)
    return np.asarray(_image_sums(pair_scores(e_ND)[None])[0] / (len(e_ND) - 1))


def jackknife_se(pairs: ArrayLike) -> FloatArray:
    """Standard error of the mean pair score over images, from pair scores (P, M) → (P,).

    SCS is a U-statistic of degree two over the images. Leaving image i out changes it by
    -2 (r_i - r̄) / ((N-1)(N-2)), r_i the sum of image i's pair scores, so that the jackknife
    variance (N-1)/N Σ (SCS_-i - mean)² is  4 Σ (r_i - r̄)² / (N (N-1) (N-2)²).

    Undefined for two images (ValueError), and biased upward for three to five: the jackknife
    counts the pair noise, which falls as 1/N², as if it fell as 1/N. Source: Efron and Stein 1981.
    """
    s_PM = np.asarray(pairs, dtype=np.float64)
    n = n_images_of(s_PM.shape[-1])
    if n < 3:
        raise ValueError(f"the jackknife needs three or more images, got {n}")
    r_PN = _image_sums(s_PM)
    squares_P = ((r_PN - r_PN.mean(axis=1, keepdims=True)) ** 2).sum(axis=1)
    return np.asarray(np.sqrt(4 * squares_P / (n * (n - 1) * (n - 2) ** 2)))


def convergence(pairs: ArrayLike) -> list[ConvergencePoint]:
    """SCS of the first k images for k = 2 ... N: did the study draw enough seeds?

    pairs: pair scores (P, M). Prompts with missing images must be left out, or every prompt cut
    to the seeds that all have, so that each point averages over the same prompts.
    """
    s_PM = np.asarray(pairs, dtype=np.float64)
    points = []
    for k in range(2, n_images_of(s_PM.shape[-1]) + 1):
        first_k = s_PM[:, : k * (k - 1) // 2]
        scs_P = first_k.mean(axis=1)
        se_P = jackknife_se(first_k) if k > 2 else None
        points.append(
            ConvergencePoint(
                n_images=k,
                scs=scs_P,
                scs_se=se_P,
                mean=float(scs_P.mean()),
                mean_se=float(scs_P.std(ddof=1) / len(scs_P) ** 0.5) if len(scs_P) > 1 else None,
                prompt_se=None if se_P is None else float(np.sqrt((se_P**2).mean())),
            )
        )
    return points


def _score_pairs(s_PM: FloatArray) -> list[PromptScore]:
    n = n_images_of(s_PM.shape[1])
    sums_PN = _image_sums(s_PM)
    mean_PN = sums_PN / (n - 1)
    medoid_P = (mean_PN > mean_PN.max(axis=1, keepdims=True) - TIE).argmax(axis=1)
    outlier_P = (mean_PN < mean_PN.min(axis=1, keepdims=True) + TIE).argmax(axis=1)
    se_P = jackknife_se(s_PM).tolist() if n > 2 else [None] * len(s_PM)
    columns = (s_PM.mean(axis=1).tolist(), se_P, medoid_P.tolist(), outlier_P.tolist(), sums_PN)
    return [
        PromptScore(scs, se, n, medoid, outlier, sums_N)
        for scs, se, medoid, outlier, sums_N in zip(*columns, strict=True)
    ]


def _image_sums(s_PM: FloatArray) -> FloatArray:
    """Sum of each image's pair scores, (P, M) → (P, N)."""
    n = n_images_of(s_PM.shape[1])
    rows, columns = np.tril_indices(n, -1)
    pair_NN = np.empty((n, n), dtype=np.intp)
    pair_NN[rows, columns] = pair_NN[columns, rows] = np.arange(len(rows))
    others = pair_NN[~np.eye(n, dtype=bool)]  # image 0's pairs, image 1's, ...
    # a sum per row, not a matrix product: its last digit must not depend on the batch
    return np.asarray(s_PM.take(others, axis=1).reshape(-1, n, n - 1).sum(axis=2))
