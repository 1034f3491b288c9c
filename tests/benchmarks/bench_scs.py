"""Speed of the semantic consistency score: against the paper's loop, and in the prompts.

Both sides use one thread. Pairs of measurements are interleaved, so that a busy machine slows
both sides; the figures are ratios: median, lowest and highest of the repetitions.
"""

import time
from collections.abc import Callable
from itertools import combinations
from typing import Any

import numpy as np
import torch

from raypipe.core.consistency import semantic_consistency_score
from tests.benchmarks.ratios import one_thread, row

PROMPTS, IMAGES, DIM = 1000, 20, 512
REPETITIONS = 5


def paper_loop(e_PND: torch.Tensor) -> list[float]:
    """The published way: cosine_similarity pair by pair, floor, mean over pairs."""
    scores = []
    for e_ND in e_PND:
        pairs = []
        for i, j in combinations(range(len(e_ND)), 2):
            cosine = torch.cosine_similarity(e_ND[i], e_ND[j], dim=0)
            pairs.append(max(100 * cosine.item(), 0))
        scores.append(sum(pairs) / len(pairs))
    return scores


def run() -> list[dict[str, Any]]:
    with one_thread():
        return [_speedup(), _linearity()]


def _speedup() -> dict[str, Any]:
    e_PND = _embeddings(PROMPTS)
    ratios = []
    for _ in range(REPETITIONS):
        ours_s, ours = _best_of(lambda: semantic_consistency_score(e_PND), 5)
        loop_s, theirs = _best_of(lambda: paper_loop(torch.from_numpy(e_PND)), 1)
        assert np.abs(ours - theirs).max() < 1e-4, "the two sides must agree"
        ratios.append(loop_s / ours_s)
    return row(
        "SCS, 1,000 prompts × 20 × 512: times faster than the paper's loop", ratios, ">= 150"
    )


def _linearity() -> dict[str, Any]:
    few, many = _embeddings(PROMPTS), _embeddings(4 * PROMPTS)
    ratios = []
    for _ in range(3 * REPETITIONS):
        few_s, _ = _best_of(lambda: semantic_consistency_score(few), 3)
        many_s, _ = _best_of(lambda: semantic_consistency_score(many), 3)
        ratios.append(many_s / few_s)
    return row("SCS, time for 4,000 prompts over time for 1,000", ratios, "<= 4.4")


def _embeddings(prompts: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    rng = np.random.default_rng(0)
    centre = rng.normal(size=(prompts, 1, DIM))
    return (centre + rng.normal(size=(prompts, IMAGES, DIM))).astype(np.float32)


def _best_of(function: Callable[[], Any], times: int) -> tuple[float, Any]:
    seconds, value = [], None
    for _ in range(times):
        start = time.perf_counter()
        value = function()
        seconds.append(time.perf_counter() - start)
    return min(seconds), value
