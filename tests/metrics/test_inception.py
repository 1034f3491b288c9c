"""The network of FID and KID against torch-fidelity's, on the same weights."""

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

from raypipe.core.frechet import Moments, frechet_distance
from raypipe.errors import UserError
from raypipe.metrics.inception import Inception, new_network, pillow_resize, tensorflow_resize
from raypipe.metrics.settings import Fid, Weights


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Random weights that keep signals alive, with running statistics, in the published names."""
    generator = torch.Generator().manual_seed(8)
    state = new_network().state_dict()
    for key, value in state.items():
        if key.endswith("num_batches_tracked"):
            continue
        noise = torch.randn(value.shape, generator=generator)
        if value.ndim == 4:
            state[key] = noise * (2 / value[0].numel()) ** 0.5
        elif key.endswith(("running_var", "bn.weight")):
            state[key] = 1 + 0.2 * noise.abs()
        else:
            state[key] = 0.1 * noise
    path = tmp_path_factory.mktemp("inception") / "pt_inception-2015-12-05-6726825d.pth"
    torch.save(state, path)
    return path


@pytest.fixture(scope="module")
def metric(weights):
    return Inception(Fid(weights=Weights(id=str(weights))), "cpu")


def test_features_are_torch_fidelitys(metric, weights, pictures):
    outside = FeatureExtractorInceptionV3("test", ["2048"], str(weights))
    found = metric(pictures)
    assert found.shape == (4, 2048)
    assert found.dtype == np.float32
    for picture, features in zip(pictures, found, strict=True):
        pixels = torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None]
        expected = outside(pixels)[0][0].numpy()
        assert expected.std() > 0.01
        assert np.allclose(features, expected, rtol=1e-3, atol=1e-4 * abs(expected).max())


def test_batches_change_nothing(metric, pictures):
    together = metric(pictures)
    alone = np.concatenate([metric([picture]) for picture in pictures])
    assert np.allclose(together, alone, rtol=1e-4, atol=1e-4)
    assert metric([]).shape == (0, 2048)


def test_a_set_is_nearer_to_itself_blurred_a_little_than_a_lot(metric, pictures):
    """On 32 of the 2048 features: distances of all of them take a minute on one core."""
    large = [picture.resize((200, 200)) for picture in pictures]
    moments = [
        Moments.of(metric([picture.filter(ImageFilter.GaussianBlur(radius)) for picture in large]))
        for radius in (0, 1, 20)
    ]
    first = [Moments(m.n, m.mean_D[:32], m.scatter_DD[:32, :32]) for m in moments]
    same, little, lot = (frechet_distance(first[0], other) for other in first)
    assert same < 1e-6 < little < lot


def test_tensorflows_resize_of_a_ramp():
    ramp = np.repeat(np.arange(0, 100, dtype=np.uint8)[None, :, None], 50, axis=0)
    resized = tensorflow_resize(Image.fromarray(ramp.repeat(3, axis=2)))
    expected = np.minimum(np.arange(299) * 100 / 299, 99)
    assert np.allclose(resized[1, 7].numpy(), expected, atol=1e-4)


def test_pillows_resize_is_the_float_one(pictures):
    resized = pillow_resize(pictures[2])
    assert resized.shape == (3, 299, 299)
    rounded = np.array(pictures[2].resize((299, 299), Image.Resampling.BICUBIC), dtype=float)
    assert np.abs(resized.permute(1, 2, 0).numpy() - rounded).max() <= 1.5  # it rounds twice
    assert not np.array_equal(resized.numpy(), resized.numpy().round())


def test_foreign_weights_are_refused(tmp_path):
    torch.save({"conv.weight": torch.zeros(2)}, tmp_path / "other.pth")
    config = Fid(weights=Weights(id=str(tmp_path / "other.pth")))
    with pytest.raises(UserError, match=r"missing \(.*1 foreign \(conv.weight\)"):
        Inception(config, "cpu")
