"""TOPIQ for faces: what is said without pyiqa, and the real network where it is installed."""

import importlib.util

import numpy as np
import pytest
import torch

from raypipe.errors import UserError
from raypipe.metrics.face_quality import FaceQuality, new_network
from raypipe.metrics.settings import FaceQuality as Settings
from raypipe.metrics.settings import Weights

HAS_PYIQA = importlib.util.find_spec("pyiqa") is not None


@pytest.mark.skipif(HAS_PYIQA, reason="pyiqa is installed")
def test_without_pyiqa_the_install_command_is_named():
    with pytest.raises(UserError, match=r"pip install pyiqa"):
        FaceQuality(Settings(), "cpu")


@pytest.mark.slow
@pytest.mark.skipif(not HAS_PYIQA, reason="needs pyiqa")
def test_the_network_loads_whole_and_scores_crops(tmp_path, batches_change_nothing, pictures):
    torch.manual_seed(0)
    network = new_network()
    torch.save({"params": network.state_dict()}, tmp_path / "topiq.pth")
    metric = FaceQuality(Settings(weights=Weights(id=str(tmp_path / "topiq.pth"))), "cpu")
    batches_change_nothing(metric, atol=1e-5)
    square = pictures[0].resize((512, 512))
    pixels = torch.from_numpy(np.array(square)).permute(2, 0, 1)[None] / 255
    with torch.inference_mode():
        expected = network.eval()(pixels).item()
    assert metric([square])[0] == pytest.approx(expected, abs=1e-5)
    torch.save({"params": {"a": torch.zeros(1)}}, tmp_path / "bad.pth")
    with pytest.raises(UserError, match=r"1 foreign \(a\)"):
        FaceQuality(Settings(weights=Weights(id=str(tmp_path / "bad.pth"))), "cpu")
