"""The parts of the training, in order: each reads the output of those before it."""

import json
import logging
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, ModelMixin, StableDiffusionXLPipeline

from . import clip, data, lora, pixart, quality, reward, sd15, sdxl, vae
from .settings import PARTS, TrainMiniature
from .tokenizers import clip_tokenizer, t5_tokenizer

log = logging.getLogger(__name__)


class Training:
    """One training of the miniature world: one method per part."""

    def __init__(self, settings: TrainMiniature):
        self.settings = settings
        self.work, self.output = Path(settings.work), Path(settings.output)

    def plain(self) -> np.ndarray:
        """The plain renders, uint8 NHWC."""
        return data.pictures(self.settings.pictures, self.work)

    def styled(self) -> np.ndarray:
        """The renders in the style "tok", uint8 NHWC."""
        return data.pictures(self.settings.styled, self.work, styled=True)

    def latents(self, styled: bool = False) -> torch.Tensor:
        """Scaled latents of the renders, N×4×16×16, made once."""
        path = self.work / f"latents_{'styled' if styled else 'plain'}.pt"
        if not path.exists():
            found_NChw = vae.encode(self.trained_vae(), self.styled() if styled else self.plain())
            torch.save(found_NChw, path.with_suffix(".part"))
            path.with_suffix(".part").replace(path)
        return torch.load(path, weights_only=True)

    def trained_vae(self) -> AutoencoderKL:
        """The autoencoder that the part `vae` wrote."""
        return AutoencoderKL.from_pretrained(self.work / "vae")

    def vae(self):
        """Three plain renders for each styled one, so that the LoRA's strokes can be decoded."""
        count = min(3 * self.settings.styled, self.settings.pictures)
        pictures_NHWC = np.concatenate([self.plain()[:count], self.styled()])
        vae.train_vae(pictures_NHWC, self.settings.vae, self.work).save_pretrained(
            self.work / "vae"
        )

    def clip(self):
        """The open_clip model."""
        tokenizer = clip_tokenizer(data.some_captions())
        model, config = clip.train_clip(
            self.plain(), self.styled(), tokenizer, self.settings.clip, self.work
        )
        clip.save_clip(model, config, tokenizer, self.output / "clip")

    def sdxl(self):
        """The SDXL-shaped pipeline."""
        tokenizer = clip_tokenizer(data.some_captions())
        model = sdxl.train_sdxl(self.latents(), tokenizer, self.settings.sdxl, self.work)
        self.save(sdxl.pipeline(model, self.trained_vae()), "sdxl")

    def pixart(self):
        """The PixArt-shaped pipeline."""
        tokenizer = t5_tokenizer(data.some_captions())
        model = pixart.train_pixart(self.latents(), tokenizer, self.settings.pixart, self.work)
        self.save(pixart.pipeline(model, self.trained_vae()), "pixart")

    def lora(self):
        """The style LoRA, on the SDXL-shaped pipeline as it was written."""
        pipeline = self.sdxl_pipeline()
        model = sdxl.Denoiser(pipeline.tokenizer)
        for name in ("text_encoder", "text_encoder_2", "unet"):
            setattr(model, name, getattr(pipeline, name))
        lora.train_lora(
            self.latents(), self.latents(styled=True), model, self.settings.lora, self.work
        )
        lora.save_lora(model, self.output / "lora")

    def sd15(self):
        """The SD-1.5-shaped pipeline, from the SDXL-shaped one as it was written."""
        start = self.sdxl_pipeline()
        model = sd15.train_sd15(self.latents(), start, self.settings.sd15, self.work)
        self.save(sd15.pipeline(model, self.trained_vae()), "sd15")

    def sdxl_pipeline(self) -> StableDiffusionXLPipeline:
        """What the part `sdxl` wrote, in float32."""
        return StableDiffusionXLPipeline.from_pretrained(
            self.output / "sdxl", torch_dtype=torch.float32
        )

    def reward(self):
        """The BLIP-shaped reward."""
        words = reward.tokenizer(data.some_captions())
        trained = reward.train_reward(self.plain(), words, self.settings.reward, self.work)
        reward.save(trained, words, self.output / "reward")
        reward.standardize(self.output / "reward", self.plain()[:1000])

    def quality(self):
        """Held-out figures, printed and kept beside the weights."""
        figures = quality.measure(self.output)
        text = json.dumps(figures, indent=2)
        (self.output / "quality.json").write_text(text + "\n")
        log.info("%s", text)

    def save(self, pipeline, name: str):
        """Write a pipeline: half precision on disk, except for the text encoders.

        Transformers loads a model in the precision that it finds, diffusers in float32.
        """
        for part in pipeline.components.values():
            if isinstance(part, ModelMixin):
                part.half()
        pipeline.save_pretrained(self.output / name)


def run(settings: TrainMiniature) -> str:
    """Train the parts that the config names; returns where the weights are."""
    torch.set_num_threads(1)
    training = Training(settings)
    for name in PARTS:
        if name in settings.part:
            log.info("part %s", name)
            getattr(training, name)()
    return settings.output
