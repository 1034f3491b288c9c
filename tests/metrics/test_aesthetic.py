"""The aesthetic head at its real size and in its published layout."""

import numpy as np
import pytest
import torch

from raypipe.config.networks import Encoder
from raypipe.errors import UserError
from raypipe.metrics.aesthetic import Aesthetic, Head
from raypipe.metrics.settings import Aesthetic as Settings
from raypipe.metrics.settings import Weights
from raypipe.models.encoder import LoadedEncoder

ENCODER = Encoder(id="miniature/clip")


def published(inputs):
    """The network as its authors wrote it: linear layers and dropout in a row."""
    torch.manual_seed(7)
    linear, dropout = torch.nn.Linear, torch.nn.Dropout
    return torch.nn.Sequential(
        linear(inputs, 1024), dropout(0.2), linear(1024, 128), dropout(0.2), linear(128, 64),
        dropout(0.1), linear(64, 16), linear(16, 1),
    ).eval()  # fmt: skip


def saved(network, path):
    torch.save({f"layers.{key}": value for key, value in network.state_dict().items()}, path)
    return Weights(id=str(path))


def test_the_published_head_loads_at_its_real_size(tmp_path):
    network = published(768)
    saved(network, tmp_path / "sac+logos+ava1-l14-linearMSE.pth")
    head = Head(768)
    head.load_state_dict(
        torch.load(tmp_path / "sac+logos+ava1-l14-linearMSE.pth", weights_only=True)
    )
    assert sum(p.numel() for p in head.parameters()) == 768 * 1024 + 1024 + 140_513
    embedding = torch.nn.functional.normalize(torch.randn(5, 768), dim=1)
    assert torch.allclose(head(embedding), network(embedding)[:, 0], atol=1e-6)


@pytest.fixture
def config(tmp_path):
    return Settings(encoder=ENCODER, weights=saved(published(128), tmp_path / "head.pth"))


def test_the_score_is_the_head_on_unit_embeddings(config, pictures):
    encoder = LoadedEncoder(ENCODER, "cpu")
    embedding = torch.from_numpy(encoder.images([encoder.preprocess(p) for p in pictures]))
    with torch.inference_mode():
        expected = published(128)(embedding)[:, 0].numpy()
    assert np.allclose(Aesthetic(config, "cpu")(pictures), expected, atol=1e-5)


def test_batches_change_nothing(config, batches_change_nothing):
    batches_change_nothing(Aesthetic(config, "cpu"), atol=1e-6)


def test_a_head_of_another_encoder_is_refused(tmp_path):
    config = Settings(encoder=ENCODER, weights=saved(published(768), tmp_path / "head.pth"))
    told = r"for encoder miniature/clip.* 1 of another shape \(layers.0.weight\)"
    with pytest.raises(UserError, match=told):
        Aesthetic(config, "cpu")
