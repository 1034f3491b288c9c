"""How many annotators and prompts?"""

import numpy as np
import pytest
import scipy

from raypipe.core import study_size


@pytest.mark.parametrize("k", [1, 2, 3, 6, 9])
def test_a_majority_agrees_as_often_as_simulated_ones(k):
    rng = np.random.default_rng(k)
    right = rng.binomial(k, rng.beta(4.0, 1.5, 400_000))
    decided = right * 2 != k
    simulated = (right * 2 > k)[decided].mean()
    assert study_size.majority_agreement(k, 4.0, 1.5) == pytest.approx(simulated, abs=0.004)


@pytest.mark.parametrize(
    ("agreement", "width"), [(0.94, 0.1), (0.94, 0.05), (0.6, 0.2), (1.0, 0.1)]
)
def test_one_prompt_fewer_would_be_too_few(agreement, width):
    n = study_size.prompts_for(agreement, width)

    def wide(trials):
        k = agreement * trials
        low = scipy.stats.beta.ppf(0.025, k, trials - k + 1)
        high = scipy.stats.beta.ppf(0.975, k + 1, trials - k) if k < trials else 1.0
        return high - low

    assert wide(n) <= width < wide(n - 1)


def test_the_fit_finds_what_was_put_in():
    rng = np.random.default_rng(0)
    right = rng.binomial(5, rng.beta(6.0, 1.5, 4000))
    found = study_size.plan(right, np.full(4000, 5))
    assert found.agreement_of_one == pytest.approx(0.8, abs=0.01)
    assert found.precision == pytest.approx(7.5, rel=0.15)
    rows = {(row.annotators, row.width): row for row in found.rows}
    assert rows[1, 0.1].agreement == pytest.approx(0.8, abs=0.01)
    observed = (right >= 3).mean()
    assert rows[5, 0.1].agreement == pytest.approx(observed, abs=0.01)
    assert rows[15, 0.1].agreement > rows[5, 0.1].agreement
    assert rows[5, 0.05].prompts > rows[5, 0.1].prompts


def test_items_without_votes_change_nothing_and_one_vote_each_is_too_little():
    base = study_size.plan([3, 2, 3, 1], [3, 3, 3, 3])
    assert study_size.plan([3, 2, 3, 1, 0], [3, 3, 3, 3, 0]) == base
    assert study_size.plan([1, 0], [1, 1]).reason
    assert study_size.plan([], []).rows == []
    with pytest.raises(ValueError, match="a width must be between 0 and 1, got 0"):
        study_size.prompts_for(0.9, 0)
