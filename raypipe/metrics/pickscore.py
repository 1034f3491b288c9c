"""PickScore: CLIP ViT-H/14 fine-tuned on which of two pictures people picked."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
import transformers
from PIL import Image
from torch.nn import functional

from raypipe.errors import UserError
from raypipe.metrics import settings
from raypipe.metrics.registry import Pictures, Prompts, of_each
from raypipe.metrics.weights import weights_directory
from raypipe.models.diffusion.loading import LOADING_ERRORS
from raypipe.models.memory import pieces_on
from raypipe.weights.retry import one_line

WINDOW = 77
"""Tokens of a prompt that are read."""


class PickScore:
    """exp(logit scale) · cos(picture, prompt); the scale is 100 in the published weights.

    Of two pictures of one prompt, σ of the difference is the chance that the first is picked.
    Source: arXiv 2305.01569; yuvalkirstain/PickScore, README.
    """

    def __init__(self, config: settings.PickScore, device: str):
        """UserError for weights that cannot be fetched, or with missing or foreign layers."""
        what = f"weights of metric {config.label}"
        files = ["config.json", "model*.safetensors", "model.safetensors.index.json"]
        directory = weights_directory(config.weights, what, files)
        reader = f"processor of metric {config.label}"
        beside = weights_directory(config.processor, reader, ["*.json", "*.txt"])
        self._model = _load(directory, what).to(device).eval()
        try:
            self._processor = transformers.CLIPProcessor.from_pretrained(beside)
        except LOADING_ERRORS as error:
            raise UserError(f"{reader} cannot be loaded: {beside}: {error}") from error
        self._device = device
        self._pieces = pieces_on(device, f"metric {config.label}")

    def __call__(self, pictures: Pictures, prompts: Prompts = None) -> np.ndarray:
        """Scores (B,); in practice 15 to 25."""
        prompts = of_each(pictures, prompts)
        if not pictures:
            return np.zeros(0)
        rgb = [picture.convert("RGB") for picture in pictures]
        parts = self._pieces(len(rgb), lambda piece: self._images(rgb[piece]))
        images_BD = np.concatenate(parts)
        texts_BD = np.stack([self._text(prompt) for prompt in prompts])
        scale = float(self._model.logit_scale.detach().exp())
        return scale * np.einsum("bd,bd->b", images_BD, texts_BD, dtype=np.float64)

    def _images(self, pictures: Sequence[Image.Image]) -> np.ndarray:
        pixels_BCHW = self._processor.image_processor(list(pictures), return_tensors="pt")
        with torch.inference_mode():
            seen = self._model.vision_model(pixels_BCHW["pixel_values"].to(self._device))
            features_BD = self._model.visual_projection(seen.pooler_output)
            return functional.normalize(features_BD.float(), dim=-1).cpu().numpy()

    @lru_cache(maxsize=256)  # noqa: B019 - a metric lives as long as its actor
    def _text(self, prompt: str) -> np.ndarray:
        tokens = self._processor.tokenizer(
            prompt, truncation=True, max_length=WINDOW, return_tensors="pt"
        ).to(self._device)
        with torch.inference_mode():
            read = self._model.text_model(tokens.input_ids, attention_mask=tokens.attention_mask)
            features_BD = self._model.text_projection(read.pooler_output)
            return functional.normalize(features_BD.float(), dim=-1)[0].cpu().numpy()


def _load(directory, what: str) -> transformers.CLIPModel:
    try:
        model, loaded = transformers.CLIPModel.from_pretrained(
            directory, use_safetensors=True, dtype=torch.float32, output_loading_info=True
        )
    except LOADING_ERRORS as error:
        raise UserError(f"{what} cannot be loaded: {directory}: {one_line(error)}") from error
    for kind, key in (("missing", "missing_keys"), ("foreign", "unexpected_keys")):
        names = sorted(name for name in loaded[key] if not name.endswith("position_ids"))
        if names:
            raise UserError(f"{what} do not fit their network: {len(names)} {kind} ({names[0]})")
    return model
