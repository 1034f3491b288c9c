"""CLIPScore: do the images show what the prompt says? A collapsed model is consistent, not good.

Shape letters: P prompts, N images of a prompt, D embedding dimensions.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike


def clip_score(image_embeddings: ArrayLike, text_embeddings: ArrayLike) -> Any:
    """Mean over a prompt's images of max(100 cos(image, text), 0).

    (P, N, D) and (P, D) → (P,); (N, D) and (D,) → scalar. Both from the same CLIP model, of any
    non-zero length. ValueError for shapes that do not fit, zero vectors and non-finite values.
    Source: Hessel et al. 2021 (there with the factor 2.5 for 100).

    >>> float(clip_score([[1.0, 0.0], [0.0, 3.0]], [2.0, 0.0]))
    50.0
    """
    images = np.asarray(image_embeddings, dtype=np.float64)
    texts = np.asarray(text_embeddings, dtype=np.float64)
    if images.ndim not in (2, 3) or texts.shape != images.shape[:-2] + images.shape[-1:]:
        raise ValueError(
            "embeddings must have shapes (P, N, D) and (P, D), or (N, D) and (D,), "
            f"got {images.shape} and {texts.shape}"
        )
    if not images.size:
        raise ValueError(f"each prompt needs an image, got shape {images.shape}")
    cosines = np.einsum("...nd,...d->...n", _unit(images), _unit(texts))
    return np.clip(100.0 * cosines, 0.0, 100.0).mean(axis=-1)


def _unit(e: Any) -> Any:
    if not np.isfinite(e).all():
        raise ValueError(f"embeddings must be finite, got {e[~np.isfinite(e)][0]}")
    largest = np.abs(e).max(axis=-1, keepdims=True)
    if not largest.all():
        raise ValueError("embeddings must not be zero vectors, got one")
    scaled = e / largest
    return scaled / np.linalg.norm(scaled, axis=-1, keepdims=True)
