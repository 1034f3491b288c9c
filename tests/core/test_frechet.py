"""Distances between sets against scipy's matrix square root, torch-fidelity and plain loops."""

import numpy as np
import pytest
import scipy.linalg
import torch
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
from torch_fidelity.metric_kid import kid_features_to_metric

from raypipe.core.frechet import Moments, frechet_distance, kernel_distance, kid


@pytest.fixture
def sets():
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(12, 12))
    return rng.normal(size=(90, 12)) @ mixing, rng.normal(0.3, 1.2, size=(70, 12)) @ mixing


def test_moments_are_numpys(sets):
    a, _ = sets
    moments = Moments.of(a)
    assert np.allclose(moments.mean_D, a.mean(axis=0))
    assert np.allclose(moments.covariance(), np.cov(a, rowvar=False))


def test_moments_merge_in_any_order_and_split(sets):
    a = sets[0] + 1e6  # far from zero: raw second moments would lose all their digits
    whole = Moments.of(a)
    for pieces in ([a[:1], a[1:]], [a[60:], a[:10], a[10:60]], np.array_split(a, 45)):
        merged = Moments.of(pieces[0])
        for piece in pieces[1:]:
            merged = merged.merge(Moments.of(piece))
        assert merged.n == 90
        assert np.allclose(merged.mean_D, whole.mean_D, rtol=1e-14)
        assert np.allclose(merged.covariance(), whole.covariance(), rtol=1e-8, atol=1e-8)


def test_the_distance_is_that_of_scipy_and_of_torch_fidelity(sets):
    a, b = sets
    found = frechet_distance(Moments.of(a), Moments.of(b))
    cov_a, cov_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    gap = a.mean(axis=0) - b.mean(axis=0)
    root = scipy.linalg.sqrtm(cov_a @ cov_b).real
    assert found == pytest.approx(gap @ gap + np.trace(cov_a + cov_b - 2 * root), rel=1e-9)
    statistics = [fid_features_to_statistics(torch.from_numpy(x)) for x in (a, b)]
    outside = fid_statistics_to_metric(*statistics, verbose=False)
    assert found == pytest.approx(outside["frechet_inception_distance"], rel=1e-9)


def test_fewer_pictures_than_dimensions_still_have_a_distance():
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(9, 40)), rng.normal(1, 1, size=(7, 40))
    found = frechet_distance(Moments.of(a), Moments.of(b))
    statistics = [fid_features_to_statistics(torch.from_numpy(x)) for x in (a, b)]
    outside = fid_statistics_to_metric(*statistics, verbose=False)
    assert found == pytest.approx(outside["frechet_inception_distance"], rel=1e-6)


def test_known_distances(sets):
    a, _ = sets
    assert frechet_distance(Moments.of(a), Moments.of(a)) == pytest.approx(0, abs=1e-6)
    assert frechet_distance(Moments.of(a), Moments.of(a + 2)) == pytest.approx(4 * 12)
    widened = a.mean(axis=0) + 3 * (a - a.mean(axis=0))
    spread = np.trace(np.cov(a, rowvar=False))
    assert frechet_distance(Moments.of(a), Moments.of(widened)) == pytest.approx(4 * spread)


def test_the_kernel_distance_is_its_definition(sets):
    x, y = sets[0][:8], sets[1][:6]

    def k(u, v):
        return (u @ v / len(u) + 1) ** 3

    def within(z):
        values = [k(z[i], z[j]) for i in range(len(z)) for j in range(len(z)) if i != j]
        return np.mean(values)

    between = np.mean([k(u, v) for u in x for v in y])
    assert kernel_distance(x, y) == pytest.approx(within(x) + within(y) - 2 * between)


def test_kid_is_torch_fidelitys(sets):
    """With subsets of everything there is one subset, so both draw the same."""
    a, b = sets[0][:70], sets[1]
    outside = kid_features_to_metric(
        torch.from_numpy(a), torch.from_numpy(b), kid_subsets=2, kid_subset_size=70, verbose=False
    )
    found = kid(a, b, seed=0, subsets=2, subset_size=70)
    assert found.value == pytest.approx(outside["kernel_inception_distance_mean"], rel=1e-9)
    assert found.low == pytest.approx(found.high)


def test_kid_of_one_source_is_zero_on_average():
    rng = np.random.default_rng(2)
    a, b = rng.normal(size=(400, 6)), rng.normal(size=(400, 6))
    found = kid(a, b, seed=0, subsets=50, subset_size=100)
    assert found.low < 0 < found.high
    assert kid(a, b + 1, seed=0, subsets=50, subset_size=100).low > found.high


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda x: Moments.of(x[:1]).covariance(), "two or more pictures, got 1"),
        (lambda x: Moments.of(x[:0]), "shape"),
        (lambda x: Moments.of(x * np.inf), "finite"),
        (lambda x: Moments.of(x).merge(Moments.of(x[:, :3])), "one length, got 12 and 3"),
        (lambda x: kernel_distance(x, x[:, :3]), "one length, got 12 and 3"),
        (lambda x: kernel_distance(x, x[:1]), "two or more, got 90 and 1"),
    ],
)
def test_what_has_no_distance_is_refused(sets, call, told):
    with pytest.raises(ValueError, match=told):
        call(sets[0] + 1)
