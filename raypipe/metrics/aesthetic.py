"""LAION's aesthetic predictor: a small head on CLIP's picture embedding, trained on ratings."""

import numpy as np
import torch
from PIL import Image

from raypipe.metrics import settings
from raypipe.metrics.registry import Pictures, Prompts
from raypipe.metrics.weights import load_whole, read_state, weights_file
from raypipe.models.encoder import LoadedEncoder
from raypipe.weights.node import encoder_on_node

LAYERS = ((0, 1024), (2, 128), (4, 64), (6, 16), (7, 1))
"""Place among the published layers (those between are dropout), and width."""


class Head(torch.nn.Module):
    """Five linear layers, nothing between them but dropout in training: (B, D) → (B,).

    Source: christophschuhmann/improved-aesthetic-predictor, `simple_inference.py`.
    """

    def __init__(self, inputs: int):
        super().__init__()
        self.layers = torch.nn.ModuleDict()
        for place, width in LAYERS:
            self.layers[str(place)] = torch.nn.Linear(inputs, width)
            inputs = width

    def forward(self, embedding_BD: torch.Tensor) -> torch.Tensor:
        """Scores (B,) of unit-length embeddings."""
        x = embedding_BD
        for layer in self.layers.values():
            x = layer(x)
        return x[:, 0]


class Aesthetic:
    """The rating, on a scale from 1 to 10, that people would give; linear, so without bounds.

    For the published head the encoder must be OpenAI's CLIP ViT-L/14 (768 numbers).
    """

    def __init__(self, config: settings.Aesthetic, device: str):
        """UserError for weights that cannot be fetched, or that are of another encoder's width."""
        what = f"weights of metric {config.label}"
        state = read_state(weights_file(config.weights, what), what)
        self._encoder = LoadedEncoder(encoder_on_node(config.encoder), device)
        blank = self._encoder.preprocess(Image.new("RGB", (8, 8)))
        self._head = Head(self._encoder.images([blank]).shape[1])
        load_whole(self._head, state, f"{what} (for encoder {config.encoder.name})")
        self._head.eval()

    def __call__(self, pictures: Pictures, prompts: Prompts = None) -> np.ndarray:
        """Scores (B,); in practice 3 to 8."""
        if not pictures:
            return np.zeros(0)
        embedding_BD = self._encoder.images([self._encoder.preprocess(p) for p in pictures])
        with torch.inference_mode():
            return self._head(torch.from_numpy(embedding_BD)).double().numpy()
