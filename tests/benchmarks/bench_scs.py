"""Speed of the statistics: of the semantic consistency score, and of the bootstrap over prompts.

The score is compared with the paper's loop, with more prompts, and with what the memory gives; the
bootstrap with scipy's and with a loop over resamples, on the same draws.

Both sides use one thread. Pairs of measurements are interleaved, so that a busy machine slows
both sides; the figures are ratios: median, lowest and highest of the repetitions.
"""

import time
from collections.abc import Callable
from itertools import combinations
from typing import Any

import numpy as np
import scipy
import torch

from raypipe.core.bootstrap import bootstrap_mean
from raypipe.core.consistency import semantic_consistency_score
from tests.benchmarks.ratios import one_thread, read_rate, row, speedups

PROMPTS, IMAGES, DIM = 1000, 20, 512
REPETITIONS = 5
VALUES, RESAMPLES = 1000, 9999


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
        return [_speedup(), _linearity(), _throughput(), *_bootstrap()]


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


def _throughput() -> dict[str, Any]:
    e_PND = _embeddings(PROMPTS)
    shares = []
    for _ in range(REPETITIONS):
        ours_s, _ = _best_of(lambda: semantic_consistency_score(e_PND), 5)
        shares.append(e_PND.nbytes / ours_s / read_rate())
    return row("SCS, bytes of embeddings a second over bytes that memory gives", shares, ">= 0.1")


def _bootstrap() -> list[dict[str, Any]]:
    """BCa interval of a mean, over the same resamples: a seed gives both sides the same draws."""
    values = np.random.default_rng(0).exponential(size=VALUES)  # skewed: the corrections matter

    def ours() -> tuple[float | None, float | None]:
        made = bootstrap_mean(values, seed=0, resamples=RESAMPLES)
        return made.low, made.high

    def scipys() -> tuple[float, float]:
        rng = np.random.default_rng(0)
        told = scipy.stats.bootstrap((values,), np.mean, n_resamples=RESAMPLES, rng=rng)
        return tuple(told.confidence_interval)

    def resampling() -> tuple[float, float]:
        rng = np.random.default_rng(0)
        means = [rng.choice(values, VALUES).mean() for _ in range(RESAMPLES)]
        return tuple(np.quantile(means, [0.025, 0.975]))  # a percentile interval: no corrections

    assert np.allclose(ours(), scipys(), rtol=1e-9), "the two sides must agree"
    told = f"bootstrap of a mean, {VALUES:,} values, {RESAMPLES:,} resamples: times faster than"
    return [
        row(f"{told} {name}", speedups(ours, theirs, 2 * REPETITIONS), goal)
        for name, theirs, goal in (
            ("scipy's", scipys, ">= 1"),
            ("a loop over resamples", resampling, ">= 3"),
        )
    ]


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
