"""ImageReward and Face Score as metrics."""

import numpy as np
import pytest

from raypipe.errors import UserError
from raypipe.metrics import settings
from raypipe.metrics.faces import aggregate
from raypipe.metrics.registry import load
from raypipe.models.reward.scores import load_reward
from tests.support import evaluate_runs


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return {
        kind: evaluate_runs.reward_files(tmp_path_factory.mktemp(kind), kind)
        for kind in ("image_reward", "face_score")
    }


def test_batches_change_nothing(files, batches_change_nothing):
    made = load(settings.ImageReward(id=str(files["image_reward"])), "cpu")
    together = batches_change_nothing(made)
    faces = load(settings.FaceScore(id=str(files["face_score"])), "cpu")
    assert not np.allclose(together, batches_change_nothing(faces))  # which reads another text


def test_scores_are_the_rewards(files, pictures, prompts):
    directory = str(files["image_reward"])
    made = load(settings.ImageReward(id=directory, standardize=False), "cpu")
    expected = load_reward(directory, "cpu")
    raw = made(pictures, prompts) - expected.score(pictures, prompts)
    assert np.allclose(raw, 0, atol=1e-5)  # the miniature's mean is 0 and its deviation 1
    with pytest.raises(ValueError, match="each of 4 pictures needs its prompt"):
        made(pictures)


@pytest.mark.parametrize(
    ("made", "other"),
    [(settings.ImageReward, "face_score"), (settings.FaceScore, "image_reward")],
)
def test_a_reward_of_the_other_kind_is_refused(files, made, other):
    config = made(id=str(files[other]))
    with pytest.raises(UserError, match=f"needs a reward of kind {config.metric}, got {other}"):
        load(config, "cpu")


def test_faces_are_taken_together():
    boxes = [(0, 0, 10, 10), (0, 0, 10, 30)]
    assert aggregate([1.0, 5.0], boxes, "min") == 1
    assert aggregate([1.0, 5.0], boxes, "mean") == 3
    assert aggregate([1.0, 5.0], boxes, "area") == pytest.approx((1 * 100 + 5 * 300) / 400)
    with pytest.raises(ValueError, match="each face needs its score"):
        aggregate([], [], "min")
