"""Metrics that are a reward: ImageReward of pictures and prompts, Face Score of face crops."""

import numpy as np

from raypipe.errors import UserError
from raypipe.metrics import settings
from raypipe.metrics.registry import Pictures, Prompts, of_each
from raypipe.models.reward.scores import load_reward


class _OfReward:
    def __init__(self, config: settings.ImageReward | settings.FaceScore, device: str):
        """UserError for a reward that cannot be fetched or loaded, or is of the other kind."""
        self._reward = load_reward(config, device)
        kind = self._reward.facts.kind
        if kind != config.metric:
            raise UserError(
                f"metric {config.label} needs a reward of kind {config.metric}, got {kind}: "
                f"{config.id}"
            )


class ImageReward(_OfReward):
    """How well a picture pleases with its prompt; standardized as published unless asked otherwise.

    Source: arXiv 2304.05977; THUDM/ImageReward.
    """

    def __call__(self, pictures: Pictures, prompts: Prompts = None) -> np.ndarray:
        """Scores (B,); in practice -2.5 to 2."""
        prompts = of_each(pictures, prompts)
        return self._reward.score(pictures, prompts) if pictures else np.zeros(0)


class FaceScore(_OfReward):
    """How good a face is: ImageReward's network, which always reads "A face."

    The crop is that of `raypipe.models.reward.input.crop_face`, the score the raw output of the
    head unless asked otherwise. Source: arXiv 2406.17100; OPPO-Mente-Lab/FaceScore.
    """

    def __call__(self, pictures: Pictures, prompts: Prompts = None) -> np.ndarray:
        """Scores (B,) of face crops; in practice -5 to 5."""
        return self._reward.score(pictures) if pictures else np.zeros(0)
