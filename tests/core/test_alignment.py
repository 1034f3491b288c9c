import numpy as np
import pytest
import torch

from raypipe.core.alignment import clip_score


def test_equals_one_cosine_per_image():
    rng = np.random.default_rng(0)
    images, texts = rng.normal(size=(4, 6, 3)), rng.normal(size=(4, 3))
    cosines = torch.cosine_similarity(torch.tensor(images), torch.tensor(texts)[:, None], dim=-1)
    np.testing.assert_allclose(clip_score(images, texts), (100 * cosines).clamp(0).mean(1))
    assert clip_score(images[0], texts[0]) == pytest.approx(clip_score(images, texts)[0])


def test_floor_is_applied_to_each_image():
    assert clip_score([[1.0, 0.0], [-1.0, 0.0]], [1.0, 0.0]) == pytest.approx(50)


def test_length_does_not_matter():
    images, text = np.eye(3), np.array([1.0, 2.0, 3.0])
    assert clip_score(images * 1e-200, text * 1e200) == pytest.approx(clip_score(images, text))


@pytest.mark.parametrize(
    ("images", "texts"), [((2, 3, 4), (3, 4)), ((3, 4), (5,)), ((4,), (4,)), ((0, 4), (4,))]
)
def test_shapes_that_do_not_fit_are_refused(images, texts):
    with pytest.raises(ValueError, match="got"):
        clip_score(np.ones(images), np.ones(texts))


def test_what_has_no_direction_is_refused():
    with pytest.raises(ValueError, match="zero vectors"):
        clip_score(np.ones((2, 3)), np.zeros(3))
    with pytest.raises(ValueError, match="finite, got nan"):
        clip_score(np.full((2, 3), np.nan), np.ones(3))
