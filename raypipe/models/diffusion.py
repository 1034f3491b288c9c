"""Any diffusers text-to-image pipeline: loaded once, text encoded once a prompt, noise by seed."""

import logging
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import diffusers
import numpy as np
import torch
from safetensors import SafetensorError

from raypipe.errors import UserError
from raypipe.settings import Model, Sampler
from raypipe.weights import is_local, locate, lora_file

SCHEDULERS = {
    "euler": diffusers.EulerDiscreteScheduler,
    "euler_a": diffusers.EulerAncestralDiscreteScheduler,
    "ddim": diffusers.DDIMScheduler,
    "dpmpp_2m": diffusers.DPMSolverMultistepScheduler,
    "unipc": diffusers.UniPCMultistepScheduler,
    "lcm": diffusers.LCMScheduler,
}

ENCODED = {
    "StableDiffusionPipeline": ("prompt_embeds", "negative_prompt_embeds"),
    "StableDiffusionXLPipeline": (
        "prompt_embeds",
        "negative_prompt_embeds",
        "pooled_prompt_embeds",
        "negative_pooled_prompt_embeds",
    ),
    "PixArtAlphaPipeline": (
        "prompt_embeds",
        "prompt_attention_mask",
        "negative_prompt_embeds",
        "negative_prompt_attention_mask",
    ),
}
"""What `encode_prompt` of each pipeline returns, by the names that its call takes them under.

A pipeline that is not listed reads its prompts as text in every batch.
"""

FIXED_OPTIONS = {"PixArtAlphaPipeline": {"use_resolution_binning": False, "clean_caption": False}}
"""Options that would resize, or depend on what is installed, unless a config sets them."""

LORA_DOWN = (".lora_A.weight", ".lora.down.weight", ".lora_down.weight")
"""How the key of a LoRA's first matrix ends, one for each changed layer, in each known layout.

They are counted after loading, because diffusers loads a part of some files without a word: of a
file that mixes two layouts it drops one.
"""

REMEMBERED_PROMPTS = 64
"""Encoded prompts kept: a batch boundary inside a prompt's seeds costs no second encoding."""


@dataclass(frozen=True)
class Generated:
    """Pictures of one batch."""

    images_BHWC: np.ndarray
    """float32 from 0 to 1; may hold NaN, which the caller looks for."""
    nsfw: list[bool]
    """What a safety checker flagged; all False where there is none."""


class Generator:
    """One loaded pipeline on one device."""

    def __init__(self, model: Model, sampler: Sampler, device: str):
        self._model, self._sampler, self._device = model, sampler, device
        self._pipe = load_pipeline(model, sampler).to(device)
        self._pipe.set_progress_bar_config(disable=True)
        self.device_kind = torch.cuda.get_device_name() if device == "cuda" else device
        self._prompts: OrderedDict[str, dict[str, torch.Tensor]] = OrderedDict()
        self._options = {**FIXED_OPTIONS.get(type(self._pipe).__name__, {}), **model.options}
        if model.lora is not None:
            self._check_lora_acts()

    def __call__(self, prompts: list[str], seeds: list[int]) -> Generated:
        """One picture for each (prompt, seed), as the plain pipeline would make it alone.

        The noise of each picture comes from its own CPU generator, so it is the same bits whatever
        else is in the batch. Rounding inside the networks may differ with the batch size.
        """
        with torch.inference_mode():
            output = self._pipe(
                **self._text(prompts),
                generator=[torch.Generator("cpu").manual_seed(seed) for seed in seeds],
                num_inference_steps=self._sampler.steps,
                guidance_scale=self._sampler.guidance,
                height=self._sampler.height,
                width=self._sampler.width,
                output_type="np",
                **self._options,
            )
        flags = getattr(output, "nsfw_content_detected", None) or [False] * len(seeds)
        return Generated(np.asarray(output.images, dtype=np.float32), [bool(f) for f in flags])

    def truncated(self, prompt: str) -> bool:
        """Whether a tokenizer of the pipeline cuts the prompt off."""
        for name in ("tokenizer", "tokenizer_2", "tokenizer_3"):
            tokenizer = getattr(self._pipe, name, None)
            if tokenizer is not None:
                limit = 120 if "PixArt" in type(self._pipe).__name__ else tokenizer.model_max_length
                if len(tokenizer(prompt, truncation=False).input_ids) > limit:
                    return True
        return False

    def _text(self, prompts: list[str]) -> dict[str, Any]:
        """Arguments that carry the text: encoded once for each prompt where the pipeline can."""
        names = ENCODED.get(type(self._pipe).__name__)
        if names is None:
            negative = self._sampler.negative_prompt
            return {"prompt": prompts, "negative_prompt": negative and [negative] * len(prompts)}
        rows = [self._encode(prompt, names) for prompt in prompts]
        text = {n: torch.cat([row[n] for row in rows]) for n in names if rows[0][n] is not None}
        if "PixArt" in type(self._pipe).__name__:
            text["negative_prompt"] = None  # its default of "" may not come beside embeddings
        return text

    def _encode(self, prompt: str, names: tuple[str, ...]) -> dict[str, torch.Tensor]:
        if prompt not in self._prompts:
            arguments: dict[str, Any] = {
                "prompt": prompt,
                "device": self._device,
                "num_images_per_prompt": 1,
                "do_classifier_free_guidance": self._sampler.guidance > 1,
            }
            if self._sampler.negative_prompt is not None:
                arguments["negative_prompt"] = self._sampler.negative_prompt
            if "clean_caption" in self._options:
                arguments["clean_caption"] = self._options["clean_caption"]
            with torch.inference_mode():
                encoded = self._pipe.encode_prompt(**arguments)
            self._prompts[prompt] = dict(zip(names, encoded, strict=True))
            while len(self._prompts) > REMEMBERED_PROMPTS:
                self._prompts.popitem(last=False)
        return self._prompts[prompt]

    def _check_lora_acts(self) -> None:
        """Raise UserError if one step gives the same latents with the LoRA and without."""
        with_lora = self._one_step()
        self._pipe.disable_lora()
        without = self._one_step()
        self._pipe.enable_lora()
        lora = self._model.lora
        if lora is not None and torch.equal(with_lora, without):
            raise UserError(
                f"a LoRA must change the picture, but model {self._model.name} makes the same one "
                f"without {lora.id} at scale {lora.scale}"
            )

    def _one_step(self) -> torch.Tensor:
        """Latents of a small picture after one step."""
        with torch.inference_mode():
            return self._pipe(
                prompt="a picture",
                generator=torch.Generator("cpu").manual_seed(0),
                num_inference_steps=1,
                guidance_scale=1.0,
                height=8 * self._pipe.vae_scale_factor,
                width=8 * self._pipe.vae_scale_factor,
                output_type="latent",
                **self._options,
            ).images


def load_pipeline(model: Model, sampler: Sampler) -> diffusers.DiffusionPipeline:
    """Load a pipeline by hub id or directory, with its scheduler, VAE and LoRA."""
    assert model.id is not None
    dtype = getattr(torch, model.dtype)
    extra: dict[str, Any] = {}
    if model.vae is not None:
        extra["vae"] = diffusers.AutoencoderKL.from_pretrained(locate(model.vae), dtype=dtype)
    try:
        pipe = diffusers.DiffusionPipeline.from_pretrained(
            locate(model.id),
            revision=model.revision,
            variant=model.variant,
            dtype=dtype,
            use_safetensors=True,
            **extra,
        )
    except (OSError, ValueError, SafetensorError) as error:
        raise UserError(f"model {model.name} cannot be loaded: {model.id}: {error}") from error
    if sampler.scheduler is not None:
        scheduler = SCHEDULERS[sampler.scheduler]
        pipe.scheduler = scheduler.from_config(pipe.scheduler.config)
    if model.lora is not None:
        _load_lora(pipe, model)
    return pipe


def _load_lora(pipe: diffusers.DiffusionPipeline, model: Model) -> None:
    """Put the LoRA on at its scale; a file whose keys do not fit is the user's mistake."""
    lora = model.lora
    assert lora is not None
    if not hasattr(pipe, "load_lora_weights"):
        raise UserError(f"{type(pipe).__name__} takes no LoRA (model {model.name})")
    file = lora_file(lora)
    where = locate(lora.id) if file is None else str(file.parent)
    source = {
        "weight_name": lora.weight_name if file is None else file.name,
        "revision": lora.revision,
        "local_files_only": is_local(where),
    }
    ignored = _Ignored()
    logger = logging.getLogger("diffusers")
    logger.addHandler(ignored)
    try:
        found, *_ = pipe.lora_state_dict(where, **source)
        pipe.load_lora_weights(where, adapter_name="lora", **source)
        pipe.set_adapters(["lora"], [lora.scale])
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"the LoRA of model {model.name} does not fit it: {reason}") from error
    finally:
        logger.removeHandler(ignored)
    if ignored.messages:
        raise UserError(f"the LoRA of model {model.name} does not fit it: {ignored.messages[0]}")
    expected = sum(key.endswith(LORA_DOWN) for key in found)
    loaded = sum(
        name.endswith("lora_A.lora.weight")
        for part in pipe.components.values()
        if isinstance(part, torch.nn.Module)
        for name, _ in part.named_parameters()
    )
    if loaded != expected:
        raise UserError(
            f"the LoRA of model {model.name} does not fit it: the file changes {expected} layers, "
            f"of which {loaded} were loaded"
        )


class _Ignored(logging.Handler):
    """Collects diffusers' warnings about LoRA keys that it leaves out."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        if "unexpected keys" in message:
            self.messages.append(" ".join(message.split())[:300])
