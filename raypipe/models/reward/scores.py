"""A loaded reward scores pictures: here, batched, or in the environment of upstream's package."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from PIL import Image

from raypipe.config.networks import Reward, RewardFacts
from raypipe.models.memory import pieces_on
from raypipe.models.reward.files import read_reward
from raypipe.models.reward.input import preprocess, standardized, texts_for
from raypipe.models.reward.layout import RewardFiles, find_reward
from raypipe.weights.node import reward_on_node


class Scorer(Protocol):
    """Scores pictures with their texts."""

    facts: RewardFacts

    def score(
        self, images: Sequence[Image.Image], texts: Sequence[str] | None = None
    ) -> np.ndarray:
        """Rewards (B,), float64; larger is better, and there are no bounds.

        Face Score always reads "A face.", so that its texts may be left out.
        """
        ...


def load_reward(reward: Reward | str, device: str) -> Scorer:
    """The reward that a config, or an id alone, names.

    UserError for one that cannot be fetched or loaded, or where upstream's environment is
    missing.
    """
    config = Reward(id=reward) if isinstance(reward, str) else reward
    files = find_reward(Path(reward_on_node(config).id))
    if config.backend == "upstream":
        from raypipe.models.reward.upstream import UpstreamReward

        return UpstreamReward(config, files, device)
    return LoadedReward(config, files, device)


class LoadedReward:
    """One reward on one device."""

    def __init__(self, config: Reward, files: RewardFiles, device: str):
        self._standardize = config.standardize
        self._device = device
        self._halves = config.precision == "bfloat16"
        self.network, self.texts, self.facts = read_reward(files)
        self.network.to(device).requires_grad_(False)
        self._pieces = pieces_on(device, f"reward {config.id}")

    def score(
        self, images: Sequence[Image.Image], texts: Sequence[str] | None = None
    ) -> np.ndarray:
        """See `Scorer`. A batch that does not fit the memory is scored in halves.

        Raises UserError if one picture does not fit.
        """
        if not images:
            return np.zeros(0)
        pixels = [preprocess(image, self.facts.image_size) for image in images]
        read = texts_for(self.facts, texts, len(pixels))
        raw = self._pieces(len(pixels), lambda piece: self._raw(pixels[piece], read[piece]))
        return standardized(np.concatenate(raw), self.facts, self._standardize)

    def _raw(self, pixels: Sequence[torch.Tensor], texts: Sequence[str]) -> np.ndarray:
        kind = self._device.partition(":")[0]
        with (
            torch.inference_mode(),
            torch.autocast(kind, torch.bfloat16, enabled=self._halves),
        ):
            pixels_BCHW = torch.stack(list(pixels)).to(self._device)
            ids_BT, mask_BT = (tensor.to(self._device) for tensor in self.texts(texts))
            return self.network(pixels_BCHW, ids_BT, mask_BT).double().cpu().numpy()
