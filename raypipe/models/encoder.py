"""Encoders of pictures, and of text where the encoder has it: open_clip and timm models."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError

from raypipe.config.networks import Encoder
from raypipe.errors import UserError
from raypipe.models.memory import pieces_on
from raypipe.weights.hub import download
from raypipe.weights.locate import is_local, locate
from raypipe.weights.trust import check_folder

Loaded = tuple[torch.nn.Module, Callable, Callable | None]
"""A model, what turns a picture into its pixels, and its tokenizer where it reads text."""


class LoadedEncoder:
    """One loaded encoder on one device; its preprocessing is the library's own."""

    def __init__(self, config: Encoder, device: str, loaded: Loaded | None = None):
        """`loaded` is a model whose weights are not the library's; `config` then only names it."""
        self._device = device
        load = _load_open_clip if config.library == "open_clip" else _load_timm
        self._model, self._transform, self._tokenize = loaded or load(config)
        self._model.to(device).eval()
        self._pieces = pieces_on(device, f"encoder {config.name}")

    def preprocess(self, image: Image.Image) -> torch.Tensor:
        """One picture as the model reads it (3, H, W)."""
        return self._transform(image.convert("RGB"))

    def images(self, pixels: Sequence[torch.Tensor]) -> np.ndarray:
        """Unit-length embeddings (B, D), float32, of preprocessed pictures.

        A batch that does not fit the memory is embedded in halves. Raises UserError if one picture
        does not fit.
        """
        return np.concatenate(self._pieces(len(pixels), lambda piece: self._embed(pixels[piece])))

    def _embed(self, pixels: Sequence[torch.Tensor]) -> np.ndarray:
        with torch.inference_mode():
            pixels_BCHW = torch.stack(list(pixels)).to(self._device)
            if self._tokenize is None:
                features_BD = self._model(pixels_BCHW)
            else:
                features_BD = self._model.encode_image(pixels_BCHW)
        return _unit(features_BD, len(pixels))

    def text(self, prompt: str) -> np.ndarray | None:
        """Unit-length embedding (D,) of a prompt, cut at the encoder's window; None without one."""
        return None if self._tokenize is None else self._remembered_text(prompt)

    @lru_cache(maxsize=256)  # noqa: B019 - an encoder lives as long as its actor
    def _remembered_text(self, prompt: str) -> np.ndarray:
        with torch.inference_mode():
            tokens = self._tokenize([prompt]).to(self._device)
            return _unit(self._model.encode_text(tokens), 1)[0]


def needs_quick_gelu(config: Encoder) -> bool:
    """Whether weights that open_clip names were trained with another activation than its config.

    OpenAI's were, with x·σ(1.702 x). open_clip builds what the architecture's name implies,
    ViT-B-32 with the exact GELU, and only warns: embeddings would be close, but wrong.
    """
    import open_clip

    known = open_clip.get_pretrained_cfg(config.id, config.pretrained or "") or {}
    return bool(known.get("quick_gelu"))


def _check_trust(where: str, what: str) -> None:
    """UserError for an encoder of others whose configs would have a library run its code.

    open_clip hands all options in a config on to transformers, trust_remote_code among them.
    """
    if is_local(where):
        check_folder(Path(where), what)
    elif where.startswith(("hf-hub:", "hf_hub:")):
        repository, _, revision = where.partition(":")[2].partition("@")
        check_folder(download(repository, revision or None, ["*config.json"], what), what)


def _load_open_clip(config: Encoder) -> Loaded:
    import open_clip

    where = locate(config.id)
    _check_trust(where, f"encoder {config.name}")
    name = f"local-dir:{where}" if is_local(where) else where
    tag = None if is_local(where) or where.startswith("hf-hub:") else config.pretrained
    try:
        model, _, transform = open_clip.create_model_and_transforms(
            name, pretrained=tag, force_quick_gelu=tag is not None and needs_quick_gelu(config)
        )
        tokenize = open_clip.get_tokenizer(name)
    except (OSError, RuntimeError, ValueError, SafetensorError) as error:
        raise UserError(f"encoder {config.name} cannot be loaded: {error}") from error
    return model, transform, tokenize


def _load_timm(config: Encoder) -> Loaded:
    """A timm model without its classifier, with the preprocessing its weights name."""
    import timm

    where = locate(config.id)
    _check_trust(where, f"encoder {config.name}")
    name = f"local-dir:{where}" if is_local(where) else where
    try:
        model = timm.create_model(name, pretrained=True, num_classes=0)
    except (OSError, RuntimeError, ValueError, SafetensorError) as error:
        raise UserError(f"encoder {config.name} cannot be loaded: {error}") from error
    data = timm.data.resolve_model_data_config(model)
    return model, timm.data.create_transform(**data, is_training=False), None


def _unit(features_BD: torch.Tensor, n: int) -> np.ndarray:
    """Scale to unit length; transformers and timm have changed what they return before."""
    if features_BD.ndim != 2 or len(features_BD) != n:
        raise ValueError(f"an encoder must return (B, D), got {tuple(features_BD.shape)}")
    features_BD = features_BD.float()
    return (features_BD / features_BD.norm(dim=1, keepdim=True)).cpu().numpy()
