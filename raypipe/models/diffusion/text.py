"""Text encoding, with a whole pipeline or apart from it."""

from collections import OrderedDict
from typing import Any

import diffusers
import torch

from raypipe.config.model import Model, Sampler
from raypipe.errors import UserError
from raypipe.models.diffusion.loading import load_pipeline, place
from raypipe.models.lora.place import load_lora
from raypipe.weights.families import ENCODED, FIXED_OPTIONS, TEXT_OPTIONS

REMEMBERED_PROMPTS = 64
"""Encoded prompts kept: a batch boundary inside a prompt's seeds costs no second encoding."""


class PromptEncoder:
    """Encodes prompts, each once, with the text encoders of a pipeline that is loaded."""

    def __init__(
        self, pipe: diffusers.DiffusionPipeline, model: Model, sampler: Sampler, device: str
    ):
        self._pipe, self._device = pipe, device
        self._names = ENCODED[type(pipe).__name__]
        options = {**FIXED_OPTIONS.get(type(pipe).__name__, {}), **model.options}
        if (
            "clip_skip" in options
            and isinstance(pipe, diffusers.StableDiffusionPipeline)
            and not hasattr(pipe.text_encoder, "text_model")
        ):
            raise UserError(
                f"options.clip_skip of model {model.name} needs transformers 4: diffusers' "
                "StableDiffusionPipeline does not find the layers of later versions"
            )
        self._arguments: dict[str, Any] = {
            "device": device,
            "num_images_per_prompt": 1,
            "do_classifier_free_guidance": sampler.guidance > 1,
            **{key: options[key] for key in TEXT_OPTIONS if key in options},
        }
        if sampler.negative_prompt is not None:
            self._arguments["negative_prompt"] = sampler.negative_prompt
        self._encoded: OrderedDict[str, dict[str, torch.Tensor]] = OrderedDict()

    def encode(self, prompt: str) -> dict[str, torch.Tensor]:
        """Tensors (1, ...) by the pipeline's argument names; negative ones only under guidance."""
        if prompt not in self._encoded:
            with torch.inference_mode():
                values = self._pipe.encode_prompt(prompt=prompt, **self._arguments)
            pairs = zip(self._names, values, strict=True)
            self._encoded[prompt] = {name: value for name, value in pairs if value is not None}
            while len(self._encoded) > REMEMBERED_PROMPTS:
                self._encoded.popitem(last=False)
        return self._encoded[prompt]

    def truncated(self, prompt: str) -> bool:
        """Whether a tokenizer of the pipeline cuts the prompt off."""
        return truncated(self._pipe, prompt, self._arguments.get("max_sequence_length"))


class TextEncoder(PromptEncoder):
    """A pipeline's tokenizers and text encoders alone, for `Generator(encodes_text=False)`."""

    def __init__(self, model: Model, sampler: Sampler, device: str):
        pipe = load_pipeline(model, sampler, "text")
        lora = load_lora(pipe, model)
        if device == "cpu":
            pipe.to(device)  # `memory.offload` is about the GPU that makes pictures
        else:
            place(pipe, model, device)
        super().__init__(pipe, model, sampler, device)
        if lora is not None:
            lora.check_acts(self._example)
            self._encoded.clear()

    def _example(self) -> torch.Tensor:
        """An encoded prompt as one row of numbers, encoded again."""
        self._encoded.clear()
        return torch.cat([value.flatten().float() for value in self.encode("a picture").values()])


def truncated(pipe: diffusers.DiffusionPipeline, prompt: str, longest: int | None = None) -> bool:
    """Whether a tokenizer of the pipeline cuts the prompt off; `longest` is PixArt's own limit."""
    for name in ("tokenizer", "tokenizer_2", "tokenizer_3"):
        tokenizer = getattr(pipe, name, None)
        if tokenizer is not None:
            is_pixart = "PixArt" in type(pipe).__name__
            limit = (longest or 120) if is_pixart else tokenizer.model_max_length
            if len(tokenizer(prompt, truncation=False).input_ids) > limit:
                return True
    return False
