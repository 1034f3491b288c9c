"""Quality of a face by TOPIQ, through the optional package pyiqa."""

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image, ImageOps
from torchvision.transforms.functional import to_tensor

from raypipe.errors import UserError
from raypipe.metrics import settings
from raypipe.metrics.registry import Pictures, Prompts
from raypipe.metrics.weights import load_whole, read_state, weights_file
from raypipe.models.memory import pieces_on

SIZE = 512
"""Pixels of the square that the network reads."""

INSTALL = "pip install pyiqa"


class FaceQuality:
    """pyiqa's topiq_nr-face on face crops: the network and weights, with our own detector.

    pyiqa would find and align one face itself, with another detector whose weights it downloads,
    one picture at a time. Here each crop is a face already: its short side is resized to 512 and
    the centre cut out, without turning the eyes level; so values differ somewhat from pyiqa's.
    Source: arXiv 2308.03060; pyiqa `topiq_arch.py`, `default_model_configs.py`.
    """

    def __init__(self, config: settings.FaceQuality, device: str):
        """UserError where pyiqa is missing, or the weights cannot be fetched or do not fit."""
        what = f"weights of metric {config.label}"
        self._network = new_network()
        state = read_state(weights_file(config.weights, what), what, inside="params")
        load_whole(self._network, state, what)
        self._network.to(device).eval()
        self._device = device
        self._pieces = pieces_on(device, f"metric {config.label}", "face")

    def __call__(self, pictures: Pictures, prompts: Prompts = None) -> np.ndarray:
        """Scores (B,) of face crops, about 0 to 1."""
        if not pictures:
            return np.zeros(0)
        squares = [
            ImageOps.fit(picture.convert("RGB"), (SIZE, SIZE), Image.Resampling.BICUBIC)
            for picture in pictures
        ]
        pixels = [to_tensor(square) for square in squares]
        return np.concatenate(self._pieces(len(pixels), lambda piece: self._score(pixels[piece])))

    def _score(self, pixels: Sequence[torch.Tensor]) -> np.ndarray:
        with torch.inference_mode():
            scores_B1 = self._network(torch.stack(list(pixels)).to(self._device))
        return scores_B1[:, 0].double().cpu().numpy()


def new_network() -> torch.nn.Module:
    """The untrained network. UserError where pyiqa is missing."""
    try:
        from pyiqa.archs.topiq_arch import CFANet
    except ImportError:
        raise UserError(f"metric topiq_nr_face needs the pyiqa package: {INSTALL}") from None
    # A model_name with "gfiqa" would load pyiqa's own face detector.
    return CFANet(
        semantic_model_name="resnet50",
        model_name="face crops",
        backbone_pretrain=False,
        pretrained=False,
        use_ref=False,
        test_img_size=SIZE,
    )
