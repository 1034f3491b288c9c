import numpy as np
import pytest

from raypipe.core.differences import compare_pairs
from raypipe.core.pairs import pair_scores
from raypipe.core.split_half import split_half


def embeddings(prompts=40, seeds=8):
    rng = np.random.default_rng(0)
    return rng.normal(size=(prompts, 1, 8)) + rng.normal(size=(prompts, seeds, 8))


@pytest.mark.parametrize(("seeds", "design"), [(8, "crossed"), (7, "crossed"), (4, "nested")])
def test_each_split_compares_two_disjoint_halves(seeds, design):
    e = embeddings(seeds=seeds)
    result = split_half(pair_scores(e), seed=9, splits=30, alpha=0.3, design=design)
    rng = np.random.default_rng(9)
    half, expected = seeds // 2, 0
    for _ in range(30):
        order = rng.permutation(seeds)
        first, second = np.sort(order[:half]), np.sort(order[half : 2 * half])
        halves = (pair_scores(e[:, first]), pair_scores(e[:, second]))
        expected += compare_pairs(*halves, design=design).p_value < 0.3
    assert 0 < result.significant == expected
    assert result.rate == result.significant / 30
    assert result.low < result.rate < result.high
    assert (result.n_prompts, result.seeds_per_half, result.splits) == (40, half, 30)


def test_a_model_rarely_differs_from_itself():
    result = split_half(pair_scores(embeddings(100, 20)), seed=0)
    assert result.low < 0.05 + 0.03
    assert result.rate < 0.12


def test_seeds_that_all_prompts_share_are_no_difference():
    """A test over prompts alone calls such a model different from itself in most splits."""
    rng = np.random.default_rng(0)
    shared = rng.normal(size=(1, 20, 8))
    e = 2 * rng.normal(size=(100, 1, 8)) + 0.7 * shared + 0.7 * rng.normal(size=(100, 20, 8))
    assert split_half(pair_scores(e), seed=0).rate < 0.15
    assert split_half(pair_scores(e), seed=0, design="nested").rate > 0.3


def test_degenerate_inputs():
    constant = split_half(np.full((10, 15), 100.0), seed=0, splits=20)
    assert (constant.significant, constant.low) == (0, 0)
    with pytest.raises(ValueError, match="6 or more seeds, got 5"):
        split_half(np.ones((10, 10)), seed=0)
