"""The Inception network of FID and KID, and its features of each picture.

It is torchvision's Inception v3, changed where TensorFlow's 2015 graph differs, so that
the published weights (pt_inception-2015-12-05-6726825d.pth, by mseitzer/pytorch-fid and
toshas/torch-fidelity alike) give the published values.

Shape letters: B pictures, C channels, H W pixels, D features (2048).
"""

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch.nn import functional
from torchvision.models import inception as tv

from raypipe.metrics import settings
from raypipe.metrics.registry import Pictures
from raypipe.metrics.weights import load_whole, read_state, weights_file
from raypipe.models.memory import pieces_on

SIDE = 299
CLASSES = 1008


class Inception:
    """Pooled features of pictures, for `raypipe.core.frechet`."""

    def __init__(self, config: settings.Fid | settings.Kid, device: str):
        """UserError for weights that cannot be fetched or do not fit."""
        what = f"weights of metric {config.label}"
        self._network = new_network()
        load_whole(self._network, read_state(weights_file(config.weights, what), what), what)
        self._network.to(device).eval()
        self._device = device
        self._resize = tensorflow_resize if config.resize == "tensorflow" else pillow_resize
        self._pieces = pieces_on(device, f"metric {config.label}")

    def __call__(self, pictures: Pictures) -> np.ndarray:
        """Features (B, 2048), float32."""
        if not pictures:
            return np.zeros((0, 2048), np.float32)
        pixels = [self._resize(picture.convert("RGB")) for picture in pictures]
        return np.concatenate(self._pieces(len(pixels), lambda piece: self._see(pixels[piece])))

    def _see(self, pixels: Sequence[torch.Tensor]) -> np.ndarray:
        with torch.inference_mode():
            pixels_BCHW = torch.stack(list(pixels)).to(self._device)
            return self._network((pixels_BCHW - 128) / 128).cpu().numpy()


def new_network() -> torch.nn.Module:
    """The untrained network: normalised pixels (B, 3, 299, 299) → features (B, 2048)."""
    blocks = [tv.BasicConv2d, _A, tv.InceptionB, _C, tv.InceptionD, _E, tv.InceptionAux]
    network = _Network(CLASSES, aux_logits=False, inception_blocks=blocks, init_weights=False)
    network.Mixed_7c.pools_by_maximum = True
    return network


class _Network(tv.Inception3):
    def forward(self, x):
        for name, layer in self.named_children():
            if name == "avgpool":  # what follows is the classifier
                break
            x = layer(x)
        return x.mean(dim=(2, 3))


def _pool(x_BCHW: torch.Tensor) -> torch.Tensor:
    """Mean of 3×3 neighbours; unlike torchvision's, those outside do not count as zeros."""
    return functional.avg_pool2d(x_BCHW, 3, stride=1, padding=1, count_include_pad=False)


class _A(tv.InceptionA):
    def forward(self, x):
        five = self.branch5x5_2(self.branch5x5_1(x))
        three = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat([self.branch1x1(x), five, three, self.branch_pool(_pool(x))], 1)


class _C(tv.InceptionC):
    def forward(self, x):
        seven = self.branch7x7_3(self.branch7x7_2(self.branch7x7_1(x)))
        double = self.branch7x7dbl_3(self.branch7x7dbl_2(self.branch7x7dbl_1(x)))
        double = self.branch7x7dbl_5(self.branch7x7dbl_4(double))
        return torch.cat([self.branch1x1(x), seven, double, self.branch_pool(_pool(x))], 1)


class _E(tv.InceptionE):
    pools_by_maximum = False
    """True for the last block: a slip of the 2015 graph that the weights were trained with."""

    def forward(self, x):
        three = self.branch3x3_1(x)
        double = self.branch3x3dbl_2(self.branch3x3dbl_1(x))
        pooled = functional.max_pool2d(x, 3, 1, 1) if self.pools_by_maximum else _pool(x)
        parts = [
            self.branch1x1(x),
            self.branch3x3_2a(three),
            self.branch3x3_2b(three),
            self.branch3x3dbl_3a(double),
            self.branch3x3dbl_3b(double),
            self.branch_pool(pooled),
        ]
        return torch.cat(parts, 1)


def tensorflow_resize(picture: Image.Image) -> torch.Tensor:
    """Pixels (3, 299, 299), 0 to 255, as TensorFlow 1 resizes: bilinear, not antialiased.

    Output pixel i lies at i · n / 299 of the n input pixels: pixels are points, not areas, and the
    last one's right neighbour is itself.
    """
    x_HWC = torch.from_numpy(np.array(picture, dtype=np.float32))
    x_CHW = x_HWC.permute(2, 0, 1)
    for axis in (1, 2):
        length = x_CHW.shape[axis]
        place = torch.arange(SIDE, dtype=torch.float32) * (length / SIDE)
        below = place.long().clamp(max=length - 1)
        above = (below + 1).clamp(max=length - 1)
        share = (place - below).view((1, -1, 1) if axis == 1 else (1, 1, -1))
        low, high = x_CHW.index_select(axis, below), x_CHW.index_select(axis, above)
        x_CHW = low + (high - low) * share
    return x_CHW


def pillow_resize(picture: Image.Image) -> torch.Tensor:
    """Pixels (3, 299, 299), 0 to 255: bicubic, antialiased, not rounded between.

    Source: Parmar, Zhang and Zhu 2022, "On aliased resizing", who compute "clean" FID so.
    """
    channels = [
        channel.convert("F").resize((SIDE, SIDE), Image.Resampling.BICUBIC)
        for channel in picture.split()
    ]
    x_CHW = np.stack([np.array(channel, dtype=np.float32) for channel in channels])
    return torch.from_numpy(x_CHW.clip(0, 255))
