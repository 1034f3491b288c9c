"""SCS against the paper's own double loop, and the properties that any such score must have."""

import itertools
import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ortho_group

from raypipe.core.consistency import (
    convergence,
    jackknife_se,
    score_prompts,
    semantic_consistency_score,
)
from raypipe.core.pairs import n_images_of, pair_scores


def paper_loop(e_ND):
    """The published code's way: one call per pair, floor on each pair, then the mean."""
    e = torch.as_tensor(np.asarray(e_ND))
    scores = []
    for i, j in itertools.combinations(range(len(e)), 2):
        cosine = torch.cosine_similarity(e[i][None], e[j][None]).item()
        scores.append(max(100 * cosine, 0))
    return np.mean(scores)


def embeddings(seed=0, prompts=5, images=6, dim=16, spread=1.0):
    rng = np.random.default_rng(seed)
    centre = rng.normal(size=(prompts, 1, dim))
    return centre + spread * rng.normal(size=(prompts, images, dim))


SHAPES = st.tuples(st.integers(0, 10**6), st.integers(1, 4), st.integers(2, 7), st.integers(1, 9))


@given(SHAPES, st.sampled_from([np.float32, np.float64]))
@settings(max_examples=40, deadline=None)
def test_equals_the_paper_loop(shape, dtype):
    e = embeddings(*shape).astype(dtype)
    np.testing.assert_allclose(
        semantic_consistency_score(e), [paper_loop(e_ND) for e_ND in e], atol=1e-4
    )


@given(SHAPES)
@settings(max_examples=40, deadline=None)
def test_order_length_and_rotation_do_not_matter(shape):
    e = embeddings(*shape)
    rng = np.random.default_rng(shape[0])
    scs = semantic_consistency_score(e)
    lengths = 10.0 ** rng.uniform(-6, 6, size=(*e.shape[:2], 1))
    rotation = ortho_group.rvs(e.shape[2], random_state=rng) if e.shape[2] > 1 else -np.eye(1)
    others = [rng.permutation(e, axis=1), e * lengths, e @ rotation, e[:, ::-1]]
    for other in others:
        np.testing.assert_allclose(semantic_consistency_score(other), scs, atol=1e-9)
    assert (scs >= 0).all()
    assert (scs <= 100).all()


def test_floor_is_applied_to_each_pair_before_the_mean():
    e = [[1.0, 0.0], [1.0, 0.0], [-1.0, 0.0]]  # pairs 100, -100, -100
    assert semantic_consistency_score(e) == pytest.approx(100 / 3)  # not max(-100 / 3, 0)


def test_shape_of_the_answer():
    e = embeddings(prompts=3)
    assert semantic_consistency_score(e).shape == (3,)
    assert np.ndim(semantic_consistency_score(e[0])) == 0
    assert semantic_consistency_score(e[0]) == pytest.approx(semantic_consistency_score(e)[0])
    assert semantic_consistency_score(e[:0]).shape == (0,)
    assert semantic_consistency_score(e.tolist()).dtype == np.float64


@pytest.mark.parametrize("offset", [0.0, 0.2, 30.0])
@pytest.mark.parametrize("dim", [512, 4096])
def test_float32_is_as_good_as_float64(offset, dim):
    rng = np.random.default_rng(1)
    e = (rng.normal(size=(40, 20, dim)) + offset).astype(np.float32)
    exact = semantic_consistency_score(e.astype(np.float64))
    assert np.abs(semantic_consistency_score(e) - exact).max() < 1e-4


@pytest.mark.parametrize("scale", [1e-30, 1e-20, 1e20, 1e30])
def test_float32_embeddings_of_extreme_length(scale):
    e = embeddings().astype(np.float32)
    scaled = (e * np.float32(scale)).astype(np.float32)
    np.testing.assert_allclose(
        semantic_consistency_score(scaled), semantic_consistency_score(e), atol=1e-3
    )


def test_float16_and_integers_are_taken():
    e = np.array([[1, 2, 3], [3, 2, 1], [1, 0, 0]])
    expected = paper_loop(e.astype(float))
    assert semantic_consistency_score(e) == pytest.approx(expected)
    assert semantic_consistency_score(e.astype(np.float16)) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("shape", [(3,), (1, 4), (2, 1, 4), (2, 0, 4), (2, 3, 0), (1, 2, 3, 4)])
def test_wrong_shapes_are_refused(shape):
    with pytest.raises(ValueError, match="got"):
        semantic_consistency_score(np.ones(shape))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_non_finite_values_are_refused(bad, dtype):
    e = embeddings().astype(dtype)
    e[3, 1, 2] = bad
    with pytest.raises(ValueError, match="finite"):
        semantic_consistency_score(e)


@pytest.mark.parametrize("prompt", [0, 4])
def test_zero_vectors_are_refused(prompt):
    e = embeddings()
    e[prompt, 2] = 0
    with pytest.raises(ValueError, match="zero vector"):
        semantic_consistency_score(e)


def test_memory_beside_the_input_is_bounded():
    e = np.ones((4000, 20, 128), dtype=np.float32)  # 41 MB
    tracemalloc.start()
    semantic_consistency_score(e)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 12e6


def test_first_images_own_the_first_pairs():
    e = embeddings()
    np.testing.assert_allclose(pair_scores(e)[:, :6], pair_scores(e[:, :4]), atol=1e-9)


@pytest.mark.parametrize("n_pairs", [0, 2, 4, 189])
def test_impossible_pair_counts_are_refused(n_pairs):
    with pytest.raises(ValueError, match="pairs"):
        n_images_of(n_pairs)


@pytest.mark.parametrize("images", [3, 4, 9])
def test_jackknife_equals_leaving_each_image_out(images):
    e = embeddings(images=images)
    left_out = np.stack(
        [semantic_consistency_score(np.delete(e, i, axis=1)) if images > 3 else
         pair_scores(np.delete(e, i, axis=1))[:, 0] for i in range(images)]
    )  # fmt: skip
    variance = (images - 1) / images * ((left_out - left_out.mean(0)) ** 2).sum(0)
    np.testing.assert_allclose(jackknife_se(pair_scores(e)), variance**0.5)


def test_jackknife_is_near_the_true_spread_over_seeds():
    rng = np.random.default_rng(3)
    e = np.ones(32) + rng.normal(size=(3000, 20, 32))  # one prompt, drawn again and again
    pairs = pair_scores(e)
    truth = pairs.mean(axis=1).std()
    assert (jackknife_se(pairs) ** 2).mean() ** 0.5 == pytest.approx(truth, rel=0.1)


def test_score_prompt_finds_the_most_and_the_least_typical_image():
    angle_N = np.radians([0, 10, 20, 30, 90])
    e = np.stack([np.cos(angle_N), np.sin(angle_N)], axis=1)
    score = score_prompts([e])[0]
    assert (score.medoid, score.outlier, score.n_images) == (3, 4, 5)
    assert score.scs == pytest.approx(paper_loop(e))
    cosines = np.cos(angle_N[:, None] - angle_N[None]).sum(axis=1)
    assert (int(cosines.argmax()), int(cosines.argmin())) == (3, 4)


def test_ties_go_to_the_first_image():
    same = score_prompts([np.random.default_rng(0).normal(size=(1, 64)).repeat(7, axis=0)])[0]
    assert (same.medoid, same.outlier) == (0, 0)
    assert same.scs == pytest.approx(100)
    assert same.scs_se == pytest.approx(0, abs=1e-6)


def test_rounding_does_not_break_ties():
    u, v = np.random.default_rng(0).normal(size=(2, 200, 512)).astype(np.float32)
    e = np.stack([u, v, 3 * u, 7 * v, 0.1 * u, 0.3 * v], axis=1)  # all are equally typical
    assert {(score.medoid, score.outlier) for score in score_prompts(e)} == {(0, 0)}


def test_two_images_have_a_score_and_no_standard_error():
    score = score_prompts([[[1.0, 0.0], [1.0, 1.0]]])[0]
    assert score.scs == pytest.approx(100 * 0.5**0.5)
    assert score.scs_se is None
    with pytest.raises(ValueError, match="three or more images, got 2"):
        jackknife_se([[1.0]])


def test_prompts_with_missing_images_are_scored_as_if_alone():
    full = embeddings(prompts=7, images=8)
    ragged = [e_ND[:n] for e_ND, n in zip(full, [8, 2, 5, 8, 3, 5, 8], strict=True)]
    assert score_prompts(ragged) == [score_prompts([e_ND])[0] for e_ND in ragged]
    assert score_prompts(full) == score_prompts(list(full))
    assert score_prompts([]) == []


def test_a_prompt_without_a_pair_is_named():
    with pytest.raises(ValueError, match="prompt 1"):
        score_prompts([np.ones((3, 2)), np.ones((1, 2))])
    with pytest.raises(ValueError, match="got"):
        score_prompts([np.ones((2, 3, 4))])


@given(SHAPES, st.integers(1, 40), st.sampled_from([np.float32, np.float64]))
@settings(max_examples=40, deadline=None)
def test_scoring_in_pieces_changes_not_one_bit(shape, piece, dtype):
    seed, _, images, dim = shape
    e = embeddings(seed, 40, images, dim).astype(dtype)
    pieces = [e[start : start + piece] for start in range(0, 40, piece)]
    assert [score for part in pieces for score in score_prompts(part)] == score_prompts(e)
    parts = np.concatenate([semantic_consistency_score(part) for part in pieces])
    assert (parts == semantic_consistency_score(e)).all()


def test_convergence_is_the_score_of_the_first_images():
    e = embeddings(prompts=4, images=7)
    points = convergence(pair_scores(e))
    assert [point.n_images for point in points] == [2, 3, 4, 5, 6, 7]
    for point in points:
        scores = score_prompts(e[:, : point.n_images])
        np.testing.assert_allclose(point.scs, [score.scs for score in scores])
        assert point.mean == pytest.approx(point.scs.mean())
        assert point.mean_se == pytest.approx(point.scs.std(ddof=1) / 2)
        if point.n_images > 2:
            np.testing.assert_allclose(point.scs_se, [score.scs_se for score in scores])
            assert point.prompt_se == pytest.approx((point.scs_se**2).mean() ** 0.5)
    assert points[0].scs_se is None
    assert points[0].prompt_se is None
    assert all(point.mean_se is None for point in convergence(pair_scores(e[:1])))
