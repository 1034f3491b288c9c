"""Variance components and power against simulated studies."""

import json
from dataclasses import asdict

import numpy as np
import pytest
import scipy.stats

from raypipe.core.components import Components, variance_components
from raypipe.core.differences import compare_pairs
from raypipe.core.power import power, power_table


def study(rng, prompts, seeds, difference=1.0, between=2.0, image=4.0, pair=3.0, shared=0.0):
    """Pair differences (P, M): prompts, shared seeds, pictures and pairs, each with its noise."""
    first_M, second_M = np.tril_indices(seeds, -1)
    prompt_P1 = difference + between * rng.normal(size=(prompts, 1))
    image_PN = image / 2 * rng.normal(size=(prompts, seeds))
    image_PN = image_PN + shared / 2 * rng.normal(size=(1, seeds))
    pair_PM = pair * rng.normal(size=(prompts, len(first_M)))
    return prompt_P1 + image_PN[:, first_M] + image_PN[:, second_M] + pair_PM


def test_noise_is_split_into_its_parts():
    parts = variance_components(study(np.random.default_rng(1), prompts=5000, seeds=20))
    assert parts.between == pytest.approx(4, rel=0.1)
    assert parts.zeta_1 == pytest.approx(4, rel=0.05)
    assert parts.zeta_2 == pytest.approx(2 * 4 + 9, rel=0.05)
    # the mean over pairs of (g_i + g_j) is 2 mean(g): variance image² / N; pairs add pair² / M
    assert parts.within(20) == pytest.approx(4**2 / 20 + 3**2 / 190, rel=0.05)


def test_what_seeds_share_is_told_apart_on_average():
    """The seeds are a small sample: one study's estimate is wild, their mean is not."""
    rng = np.random.default_rng(2)
    found = [variance_components(study(rng, 200, 20, shared=3.0)) for _ in range(200)]
    assert np.mean([parts.seed for parts in found]) == pytest.approx(1.5**2, rel=0.1)
    assert np.mean([parts.zeta_1 for parts in found]) == pytest.approx(4, rel=0.05)
    assert np.mean([parts.between for parts in found]) == pytest.approx(4, rel=0.1)


@pytest.mark.parametrize(
    ("prompts", "seeds", "shared"), [(20, 10, 0.0), (50, 5, 0.0), (50, 20, 2.0), (100, 4, 3.0)]
)
def test_power_is_that_of_simulated_studies(prompts, seeds, shared):
    parts = Components(between=4.0, zeta_1=4.0, zeta_2=17.0, seed=(shared / 2) ** 2)
    rng = np.random.default_rng(3)
    p_values = []
    for _ in range(600):
        d_PM = study(rng, prompts, seeds, shared=shared)
        p_values.append(compare_pairs(d_PM, np.zeros_like(d_PM)).p_value)
    simulated = np.mean(np.array(p_values) < 0.05)
    assert power(1.0, parts, prompts, seeds, "crossed", 0.05) == pytest.approx(simulated, abs=0.07)


def test_a_pilot_plans_for_its_shared_seeds():
    """More prompts cannot average out what their seeds share; seeds of their own can."""
    parts = Components(between=4.0, zeta_1=4.0, zeta_2=17.0, seed=4.0)
    crossed = [power(1.0, parts, prompts, 20, "crossed", 0.05) for prompts in (100, 10_000)]
    nested = [power(1.0, parts, prompts, 20, "nested", 0.05) for prompts in (100, 10_000)]
    assert crossed[1] < 0.5
    assert nested[0] > 0.9


def test_nested_power_is_the_t_tests():
    parts = Components(between=1.0, zeta_1=0.0, zeta_2=0.0, seed=0.0)
    noncentral = scipy.stats.nct(29, 0.5 * 30**0.5)
    limit = scipy.stats.t.isf(0.025, 29)
    expected = noncentral.sf(limit) + noncentral.cdf(-limit)
    assert power(0.5, parts, 30, 4, "nested", 0.05) == pytest.approx(expected, abs=1e-6)


def test_more_prompts_and_more_seeds_never_hurt():
    table = power_table(study(np.random.default_rng(4), prompts=60, seeds=8))
    rows = np.array([row.power for row in table.rows]).reshape(6, 4)
    assert (np.diff(rows, axis=0) > -1e-9).all()
    assert (np.diff(rows, axis=1) > -1e-9).all()
    json.dumps(asdict(table), allow_nan=False)


def test_extremes():
    parts = Components(between=1.0, zeta_1=0.0, zeta_2=0.0, seed=0.0)
    assert power(1e6, parts, 500, 8, "crossed", 0.05) == 1
    assert power(0.0, parts, 500, 8, "crossed", 0.05) == 0.05
    assert power(-0.5, parts, 34, 8, "crossed", 0.05) == power(0.5, parts, 34, 8, "crossed", 0.05)


@pytest.mark.parametrize("shape", [(1, 10), (30, 1), (30, 3)])
def test_undefined_without_prompts_or_seeds(shape):
    table = power_table(np.ones(shape))
    assert table.rows == []
    assert table.sd_between_prompts is None
    assert "4 or more seeds" in table.reason
    with pytest.raises(ValueError, match="4 or more seeds"):
        variance_components(np.ones(shape))


def test_no_spread():
    table = power_table(np.full((5, 6), 2.0))
    assert table.rows == []
    assert table.difference == 2
    assert "no spread" in table.reason
