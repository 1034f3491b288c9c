import numpy as np
import pytest

from raypipe.core.consistency import semantic_consistency_score
from raypipe.core.paired import wilcoxon
from raypipe.core.pairs import pair_scores
from raypipe.core.split_half import _half_minus_half, split_half


def embeddings(prompts=40, seeds=8):
    rng = np.random.default_rng(0)
    return rng.normal(size=(prompts, 1, 8)) + rng.normal(size=(prompts, seeds, 8))


@pytest.mark.parametrize("seeds", [4, 7, 8])
def test_weights_are_the_scores_of_two_disjoint_halves(seeds):
    e = embeddings(seeds=seeds)
    order = np.random.default_rng(1).permutation(seeds)
    half = seeds // 2
    expected = semantic_consistency_score(e[:, order[:half]]) - semantic_consistency_score(
        e[:, order[half : 2 * half]]
    )
    np.testing.assert_allclose(pair_scores(e) @ _half_minus_half(order), expected)


def test_counts_the_tests_of_each_split():
    pairs = pair_scores(embeddings())
    result = split_half(pairs, seed=9, splits=50, alpha=0.3)
    rng = np.random.default_rng(9)
    weights = [_half_minus_half(rng.permutation(8)) for _ in range(50)]
    assert result.significant == sum(wilcoxon(pairs @ w).p_value < 0.3 for w in weights)
    assert result.rate == result.significant / 50
    assert result.low < result.rate < result.high
    assert (result.n_prompts, result.seeds_per_half, result.splits) == (40, 4, 50)


def test_a_model_rarely_differs_from_itself():
    result = split_half(pair_scores(embeddings(100, 20)), seed=0)
    assert result.low < 0.05 + 0.03
    assert result.rate < 0.12


def test_a_bad_seed_is_found_out():
    """One seed that spoils every prompt makes two halves of one model differ."""
    e = embeddings(100, 8)
    e[:, 3] = -e[:, 3]
    assert split_half(pair_scores(e), seed=0).rate > 0.9


def test_degenerate_inputs():
    constant = split_half(np.full((10, 6), 100.0), seed=0, splits=20)
    assert (constant.significant, constant.low) == (0, 0)
    with pytest.raises(ValueError, match="four or more seeds, got 3"):
        split_half(np.ones((10, 3)), seed=0)
