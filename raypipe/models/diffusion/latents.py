"""Pictures to a VAE's latents, on which a denoiser is trained: the posterior's mean, no noise.

Shape letters: B pictures, H W C pixels and colours; c h w latents.
"""

from collections.abc import Sequence

import numpy as np
import torch

from raypipe.config.model import Model, Sampler
from raypipe.core.masks import Picture
from raypipe.models.diffusion.loading import load_pipeline
from raypipe.models.memory import Pieces


class LatentEncoder:
    """A pipeline's VAE alone, in float32, whatever the dtype that it is trained and sampled in."""

    def __init__(self, model: Model, sampler: Sampler, device: str):
        """model: with local paths, see raypipe.weights.node. UserError for unusable weights."""
        whole = model.model_copy(update={"dtype": "float32"})
        self.vae = load_pipeline(whole, sampler, "vae").vae.to(device).eval()
        self.factor = 2 ** (len(self.vae.config.block_out_channels) - 1)
        self._device = device
        self._pieces = Pieces(
            f"one picture must fit the memory of its device, but the VAE of model {model.name} at "
            f"{sampler.width}×{sampler.height} does not",
            model.memory.batch if isinstance(model.memory.batch, int) else None,
        )

    def __call__(self, pictures: Sequence[Picture]) -> np.ndarray:
        """Latents (B, c, h, w), float32: (mean of the posterior − shift) · scaling.

        Pictures are uint8 H×W×C of one size. What does not fit the memory is encoded in halves;
        UserError if one picture does not fit.
        """
        return np.concatenate(
            self._pieces(len(pictures), lambda piece: self._encode(pictures[piece]))
        )

    def _encode(self, pictures: Sequence[Picture]) -> np.ndarray:
        config = self.vae.config
        x_BHWC = torch.from_numpy(np.stack(pictures)).to(self._device)
        x_BCHW = x_BHWC.permute(0, 3, 1, 2).float() / 127.5 - 1
        with torch.inference_mode():
            mean_Bchw = self.vae.encode(x_BCHW).latent_dist.mode()
        shift = getattr(config, "shift_factor", None) or 0.0
        return ((mean_Bchw - shift) * config.scaling_factor).cpu().numpy()
