"""Power against simulated studies."""

import json
from dataclasses import asdict

import numpy as np
import pytest
import scipy.stats

from raypipe.core.power import power_table, wilcoxon_power

FIRST, SECOND = np.tril_indices(20, -1)


def study(rng, prompts, seeds, difference=1.0, between=2.0, image=4.0, pair=3.0):
    """Pair differences (P, M): a prompt's own difference, plus noise of images and of pairs."""
    first_M, second_M = np.tril_indices(seeds, -1)
    prompt_P1 = difference + between * rng.normal(size=(prompts, 1))
    image_PN = image / 2 * rng.normal(size=(prompts, seeds))
    pair_PM = pair * rng.normal(size=(prompts, len(first_M)))
    return prompt_P1 + image_PN[:, first_M] + image_PN[:, second_M] + pair_PM


@pytest.mark.parametrize(("effect", "prompts"), [(0.3, 50), (0.5, 20), (1.0, 10), (0.0, 30)])
def test_power_of_normal_differences(effect, prompts):
    d = np.random.default_rng(0).normal(effect, 1, size=(4000, prompts))
    simulated = (scipy.stats.wilcoxon(d, axis=1).pvalue < 0.05).mean()
    assert wilcoxon_power(effect, 1.0, prompts, 0.05) == pytest.approx(simulated, abs=0.03)


def test_variance_is_split_into_prompts_and_seeds():
    table = power_table(study(np.random.default_rng(1), prompts=5000, seeds=20))
    assert table.difference == pytest.approx(1.0, abs=0.1)
    assert table.sd_between_prompts == pytest.approx(2.0, rel=0.05)
    # the mean over pairs of (g_i + g_j) is 2 mean(g): variance image² / N; pairs add pair² / M
    assert table.sd_within_prompt == pytest.approx((4**2 / 20 + 3**2 / 190) ** 0.5, rel=0.05)


@pytest.mark.parametrize(("prompts", "seeds"), [(20, 10), (50, 5), (50, 20)])
def test_table_predicts_studies_of_other_sizes(prompts, seeds):
    rng = np.random.default_rng(2)
    pilot = study(rng, prompts=5000, seeds=20)
    row = power_table(pilot, prompts=[prompts], seeds=[seeds]).rows[0]
    studies = study(rng, prompts * 1500, seeds).mean(axis=1).reshape(1500, prompts)
    simulated = (scipy.stats.wilcoxon(studies, axis=1).pvalue < 0.05).mean()
    assert (row.n_prompts, row.n_seeds) == (prompts, seeds)
    assert row.power == pytest.approx(simulated, abs=0.05)


def test_more_prompts_and_more_seeds_never_hurt():
    table = power_table(study(np.random.default_rng(3), prompts=60, seeds=8))
    power = np.array([row.power for row in table.rows]).reshape(6, 4)
    assert (np.diff(power, axis=0) > -1e-9).all()
    assert (np.diff(power, axis=1) > -1e-9).all()
    json.dumps(asdict(table), allow_nan=False)


def test_extremes():
    assert wilcoxon_power(1e6, 1.0, 500, 0.05) == 1
    assert wilcoxon_power(1e6, 1.0, 5, 0.05) == 0  # five prompts cannot reach p < 0.05
    assert wilcoxon_power(-0.5, 1.0, 34, 0.05) == wilcoxon_power(0.5, 1.0, 34, 0.05)


@pytest.mark.parametrize("shape", [(1, 10), (30, 1)])
def test_undefined_without_prompts_or_seeds(shape):
    table = power_table(np.ones(shape))
    assert table.rows == []
    assert table.sd_between_prompts is None
    assert "three or more seeds" in table.reason


def test_no_spread():
    table = power_table(np.full((5, 6), 2.0))
    assert table.rows == []
    assert table.difference == 2
    assert "no spread" in table.reason
