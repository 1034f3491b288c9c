"""Metrics that are cosines: CLIPScore, SCS, and HPS v2, which is a fine-tuned open_clip model.

Shape letters: B pictures, C channels, H W pixels.
"""

from collections.abc import Callable

import numpy as np
import open_clip
import torch
from PIL import Image
from torch.nn import functional
from torchvision.transforms import InterpolationMode
from torchvision.transforms.functional import normalize, resize, to_tensor

from raypipe.config.networks import Encoder
from raypipe.errors import UserError
from raypipe.metrics import settings
from raypipe.metrics.registry import Pictures, Prompts, of_each
from raypipe.metrics.weights import load_whole, read_state, weights_file
from raypipe.models.encoder import Loaded, LoadedEncoder
from raypipe.weights.locate import is_local, locate
from raypipe.weights.node import encoder_on_node


class ClipScore:
    """100 cos(picture, prompt), at least 0, of any open_clip model.

    The prompt is cut at the model's window. Source: Hessel et al. 2021, there 2.5 for 100.
    """

    def __init__(self, config: settings.ClipScore, device: str):
        """UserError for an encoder that cannot be loaded, or that reads no text."""
        self._encoder = LoadedEncoder(encoder_on_node(config.encoder), device)
        if self._encoder.text("") is None:
            raise UserError(
                f"metric {config.label} needs an encoder that reads text, got {config.encoder.name}"
            )

    def __call__(self, pictures: Pictures, prompts: Prompts = None) -> np.ndarray:
        """Scores (B,), 0 to 100."""
        return np.maximum(cosines(self._encoder, pictures, prompts), 0.0)


class Embeddings:
    """Unit-length embeddings of any encoder, which semantic consistency compares."""

    def __init__(self, config: settings.Scs, device: str):
        """UserError for an encoder that cannot be loaded."""
        self._encoder = LoadedEncoder(encoder_on_node(config.encoder), device)

    def __call__(self, pictures: Pictures) -> np.ndarray:
        """Embeddings (B, D), float32; (0, 0) of none."""
        if not pictures:
            return np.zeros((0, 0), np.float32)
        return self._encoder.images([self._encoder.preprocess(picture) for picture in pictures])


class Hps:
    """Human Preference Score v2: 100 cos(picture, prompt) of CLIP ViT-H/14, fine-tuned.

    The published function returns the cosine (about 0.27), its tables 100 times that, as here.
    Upstream preprocesses pictures in its own way (see `longest_side`). Only pictures of one prompt
    are comparable. Source: arXiv 2306.09341; tgxs002/HPSv2 `hpsv2/img_score.py`.
    """

    def __init__(self, config: settings.Hps, device: str):
        """UserError for weights that cannot be fetched or do not fit the architecture."""
        named = Encoder(id=config.architecture, pretrained=config.label)
        self._encoder = LoadedEncoder(named, device, load_hps(config))

    def __call__(self, pictures: Pictures, prompts: Prompts = None) -> np.ndarray:
        """Scores (B,), -100 to 100; in practice 15 to 35."""
        return cosines(self._encoder, pictures, prompts)


def cosines(encoder: LoadedEncoder, pictures: Pictures, prompts: Prompts) -> np.ndarray:
    """100 cos of each picture and its prompt (B,), float64."""
    prompts = of_each(pictures, prompts)
    if not pictures:
        return np.zeros(0)
    images_BD = encoder.images([encoder.preprocess(picture) for picture in pictures])
    texts_BD = np.stack([np.asarray(encoder.text(prompt)) for prompt in prompts])
    return 100.0 * np.einsum("bd,bd->b", images_BD, texts_BD, dtype=np.float64)


def load_hps(config: settings.Hps) -> Loaded:
    """The network with the checkpoint's weights, which are under its key `state_dict`."""
    what = f"weights of metric {config.label}"
    where = locate(config.architecture)
    name = f"local-dir:{where}" if is_local(where) else where
    try:
        model = open_clip.create_model(name, load_weights=False)
        tokenize = open_clip.get_tokenizer(name)
    except (OSError, RuntimeError, ValueError) as error:
        raise UserError(f"metric {config.label}: no such architecture: {name}: {error}") from error
    state = read_state(weights_file(config.weights, what), what, inside="state_dict")
    load_whole(model, state, what)
    return model, longest_side(_side(model)), tokenize


def longest_side(side: int) -> Callable[[Image.Image], torch.Tensor]:
    """How HPS v2 reads a picture: whole, in a black square, where CLIP cuts out the centre.

    The longer side is resized to `side` pixels (bicubic, of float pixels, antialiased), the rest
    filled with black on both sides alike, then normalised with OpenAI's mean and deviation.
    Upstream leaves a picture whose longer side already has that size without its border, which
    fails where it is not square; here it gets one. Source: HPSv2's `open_clip/factory.py`
    (light_augmentation) and `transform.py` (ResizeMaxSize).
    """

    def transform(picture: Image.Image) -> torch.Tensor:
        pixels_CHW = to_tensor(picture.convert("RGB"))
        scale = side / max(pixels_CHW.shape[1:])
        height, width = (max(1, round(length * scale)) for length in pixels_CHW.shape[1:])
        if (height, width) != tuple(pixels_CHW.shape[1:]):
            pixels_CHW = resize(
                pixels_CHW, [height, width], InterpolationMode.BICUBIC, antialias=True
            )
        left, top = (side - width) // 2, (side - height) // 2
        border = (left, side - width - left, top, side - height - top)
        pixels_CHW = functional.pad(pixels_CHW, border)
        return normalize(pixels_CHW, open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD)

    return transform


def _side(model: torch.nn.Module) -> int:
    """Pixels of the square that a model reads."""
    size = model.visual.image_size
    return int(size if isinstance(size, int) else size[0])
