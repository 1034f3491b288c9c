"""From embeddings to pair scores, from which all statistics of a prompt's images follow.

Shape letters: P prompts, N images of a prompt (one per seed), D embedding dimensions,
M = N(N-1)/2 pairs of images, in the order (1,0) (2,0) (2,1) (3,0) ...: image by image, so that
the pairs among the first k images are the first k(k-1)/2 pairs.
"""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]

CHUNK_ELEMENTS = 2**19
"""Embedding values worked on at a time: bounds the memory beside input and output."""

_SAFE_SQUARE = {np.dtype(np.float32): (1e-30, 1e30), np.dtype(np.float64): (1e-250, 1e250)}
"""Squared lengths in this range neither overflow nor lose digits to underflow."""


def pair_scores(embeddings: ArrayLike) -> FloatArray:
    """Every pair's score max(100 cos(e_i, e_j), 0), in the pair order of this file.

    embeddings (P, N, D) or (N, D) → (P, M) or (M,). Stream long runs through it: kept as float32,
    the scores take (N-1)/2D of the embeddings' room. Errors: see semantic_consistency_score.
    """
    e_PND, single = as_prompts(embeddings)
    s_PM = np.concatenate(list(pair_score_chunks(e_PND)))
    return s_PM[0] if single else s_PM


def n_images_of(n_pairs: int) -> int:
    """Number of images N that has n_pairs = N(N-1)/2 pairs; ValueError if there is none.

    >>> n_images_of(190)
    20
    """
    n = (1 + math.isqrt(1 + 8 * n_pairs)) // 2
    if n < 2 or n * (n - 1) // 2 != n_pairs:
        raise ValueError(f"the number of pairs must be N(N-1)/2 with N >= 2, got {n_pairs}")
    return n


def as_prompts(embeddings: ArrayLike) -> tuple[NDArray[Any], bool]:
    """Embeddings as (P, N, D), and whether they came as one prompt's (N, D)."""
    e = np.asarray(embeddings)
    if e.ndim not in (2, 3):
        raise ValueError(f"embeddings must have shape (P, N, D) or (N, D), got {e.shape}")
    return (e[None], True) if e.ndim == 2 else (e, False)


def pair_score_chunks(e_PND: NDArray[Any]) -> Iterator[FloatArray]:
    """Pair scores (p, M) of a few prompts at a time; an empty (0, M) for no prompts."""
    n_prompts, n, dim = e_PND.shape
    if n < 2 or dim < 1:
        raise ValueError(f"a prompt needs two or more non-empty images, got shape {e_PND.shape}")
    step = max(1, CHUNK_ELEMENTS // (n * max(n, dim)))
    for start in range(0, max(n_prompts, 1), step):
        yield np.clip(100.0 * _cosines(e_PND[start : start + step]), 0.0, 100.0)


def _cosines(e_PND: NDArray[Any]) -> FloatArray:
    """Cosines (P, M) from one batched product, whose diagonal gives the lengths."""
    if e_PND.dtype not in _SAFE_SQUARE:
        e_PND = e_PND.astype(np.float32 if e_PND.dtype == np.float16 else np.float64)
    dot_PNN = _dot_products(e_PND)
    square_PN = np.einsum("pii->pi", dot_PNN)
    low, high = _SAFE_SQUARE[e_PND.dtype]
    if not ((square_PN > low) & (square_PN < high)).all():  # false for NaN too
        dot_PNN = _dot_products(_rescaled(e_PND))
        square_PN = np.einsum("pii->pi", dot_PNN)
    length_PN = np.sqrt(square_PN, dtype=np.float64)
    n_prompts, n = square_PN.shape
    rows, columns = np.tril_indices(n, -1)
    dot_PM = dot_PNN.reshape(n_prompts, n * n).take(rows * n + columns, axis=1)
    lengths_PM = length_PN.take(rows, axis=1) * length_PN.take(columns, axis=1)
    return np.asarray(dot_PM / lengths_PM)


def _dot_products(e_PND: NDArray[Any]) -> NDArray[Any]:
    """Dot products (P, N, N) of each prompt's images."""
    transposed_PDN = e_PND.copy().transpose(0, 2, 1)  # a copy: the general product is the faster
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray(e_PND @ transposed_PDN)


def _rescaled(e_PND: NDArray[Any]) -> FloatArray:
    """Divide each vector by its largest value; ValueError for what has no direction."""
    e_PND = e_PND.astype(np.float64)
    if not np.isfinite(e_PND).all():
        raise ValueError(f"embeddings must be finite, got {e_PND[~np.isfinite(e_PND)][0]}")
    largest_PN1 = np.abs(e_PND).max(axis=2, keepdims=True)
    if not largest_PN1.all():
        _, image, _ = np.argwhere(largest_PN1 == 0)[0]
        raise ValueError(f"embeddings must not be zero vectors, got one for image {image}")
    return np.asarray(e_PND / largest_PN1)
