"""Any diffusers text-to-image pipeline: loaded once, text encoded once a prompt, noise by seed."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from raypipe.config.model import Model, Sampler
from raypipe.errors import UserError
from raypipe.models.diffusion.compiled import compile_denoiser, denoiser_of
from raypipe.models.diffusion.guidance_interval import guided_within
from raypipe.models.diffusion.loading import load_pipeline, place
from raypipe.models.diffusion.text import PromptEncoder, truncated
from raypipe.models.diffusion.text_once import text_projected_once
from raypipe.models.lora.place import load_lora
from raypipe.models.memory import Pieces
from raypipe.weights.families import ENCODED, FIXED_OPTIONS, TEXT_OPTIONS

Text = Mapping[str, torch.Tensor]
"""An encoded prompt: tensors (1, ...) by the pipeline's argument names."""


@dataclass(frozen=True)
class Generated:
    """Pictures of one batch."""

    images_BHWC: np.ndarray
    """float32 from 0 to 1; may hold NaN, which the caller checks."""
    nsfw: list[bool]
    """What a safety checker flagged; all False where there is none."""


class Generator:
    """One loaded pipeline on one device.

    With `encodes_text=False` the text encoders are not loaded, and every call gets `texts`
    encoded by `raypipe.models.diffusion.text.TextEncoder`.
    """

    def __init__(self, model: Model, sampler: Sampler, device: str, encodes_text: bool = True):
        self._sampler, self._device = sampler, device
        self._pipe = load_pipeline(model, sampler, "all" if encodes_text else "pictures")
        self._lora = load_lora(self._pipe, model)
        place(self._pipe, model, device)
        self._pipe.set_progress_bar_config(disable=True)
        self._is_known = type(self._pipe).__name__ in ENCODED
        if sampler.guidance_interval is not None and not self._is_known:
            raise UserError(
                "sampler.guidance_interval needs a pipeline that guides with two halves of a batch "
                f"({', '.join(ENCODED)}), got {type(self._pipe).__name__} (model {model.name})"
            )
        self.device_kind = torch.cuda.get_device_name() if device == "cuda" else device
        self._is_to_be_compiled = self._is_compiled = model.compile
        self._batch = 0
        self._options = {**FIXED_OPTIONS.get(type(self._pipe).__name__, {}), **model.options}
        self._prompts: PromptEncoder | None = None
        if encodes_text:
            if self._is_known:
                self._prompts = PromptEncoder(self._pipe, model, sampler, device)
            self._check_lora_acts({"prompt": "a picture"})
        batch = model.memory.batch
        self._is_to_be_tried = batch == "auto"
        self._pieces = Pieces(
            f"one picture must fit the memory of its device, but model {model.name} at "
            f"{sampler.width}×{sampler.height} in {model.dtype} does not fit {self.device_kind}: "
            "try memory.vae_tiling=true, memory.offload=model, dtype=float16 or a smaller size",
            None if batch == "auto" else batch,
        )

    def __call__(
        self, prompts: list[str], seeds: list[int], texts: Sequence[Text] | None = None
    ) -> Generated:
        """One picture for each (prompt, seed), as the plain pipeline would make it alone.

        The noise of each picture comes from its own CPU generator, so it is the same bits whatever
        else is in the batch. Rounding inside the networks may differ with the batch size. `texts`
        are the encoded prompts, where text is encoded apart. A batch that does not fit the memory
        is made in halves. Raises UserError if one picture does not fit.
        """
        if texts is not None:
            self._check_lora_acts(self._batched(texts[:1]))
        if self._is_to_be_compiled:  # after the check, which is of another size
            compile_denoiser(self._pipe, self._device)
            self._is_to_be_compiled = False
        self._batch = max(self._batch, len(seeds))

        images_BHWC: np.ndarray | None = None

        def forward(piece: slice, steps: int = self._sampler.steps) -> list[bool]:
            nonlocal images_BHWC
            rows = range(len(seeds))[piece]
            filled = self._filled(rows)
            if texts is None:
                text = self._text([prompts[row] for row in filled])
            else:
                text = self._batched([texts[row] for row in filled])
            made = self._make(text, [seeds[row] for row in filled], steps)
            if images_BHWC is None:  # one array for all pieces, while there still is memory
                images_BHWC = np.empty((len(seeds), *made.images_BHWC.shape[1:]), np.float32)
            images_BHWC[piece] = made.images_BHWC[: len(rows)]
            return made.nsfw[: len(rows)]

        if self._is_to_be_tried:
            self._pieces(len(seeds), lambda piece: forward(piece, steps=1))
            self._is_to_be_tried = False
        nsfw = [flag for flags in self._pieces(len(seeds), forward) for flag in flags]
        assert images_BHWC is not None
        return Generated(images_BHWC, nsfw)

    def _filled(self, rows: range) -> list[int]:
        """Rows to make; a compiled denoiser gets as many as before, by repetition of the last."""
        size = min(self._batch, self._pieces.size or self._batch) if self._is_compiled else 0
        return [*rows, *[rows[-1]] * (size - len(rows))]

    def _make(self, text: dict[str, Any], seeds: list[int], steps: int) -> Generated:
        interval = self._sampler.guidance_interval
        with torch.inference_mode(), ExitStack() as meanwhile:
            if interval is not None:
                meanwhile.enter_context(guided_within(self._pipe, interval))
            if self._is_known and not self._is_compiled:  # a compiled one takes no replaced layers
                meanwhile.enter_context(text_projected_once(denoiser_of(self._pipe)))
            output = self._pipe(
                **text,
                generator=[torch.Generator("cpu").manual_seed(seed) for seed in seeds],
                num_inference_steps=steps,
                guidance_scale=self._sampler.guidance,
                height=self._sampler.height,
                width=self._sampler.width,
                output_type="np",
                **self._call_options(),
            )
        flags = getattr(output, "nsfw_content_detected", None) or [False] * len(seeds)
        return Generated(np.asarray(output.images, dtype=np.float32), [bool(f) for f in flags])

    def truncated(self, prompt: str) -> bool:
        """Whether a tokenizer of the pipeline cuts the prompt off."""
        return self._prompts.truncated(prompt) if self._prompts else truncated(self._pipe, prompt)

    def _text(self, prompts: list[str]) -> dict[str, Any]:
        """Arguments that carry the text: encoded once for each prompt where the pipeline can."""
        if self._prompts is None:
            negative = self._sampler.negative_prompt
            if negative is None:  # some pipelines have no such argument
                return {"prompt": prompts}
            return {"prompt": prompts, "negative_prompt": [negative] * len(prompts)}
        return self._batched([self._prompts.encode(prompt) for prompt in prompts])

    def _batched(self, texts: Sequence[Text]) -> dict[str, Any]:
        """Arguments of the pipeline for a batch of encoded prompts."""
        text: dict[str, Any] = {
            name: torch.cat([row[name].to(self._device) for row in texts]) for name in texts[0]
        }
        if "PixArt" in type(self._pipe).__name__:
            text["negative_prompt"] = None  # its default of "" may not come beside embeddings
        return text

    def _call_options(self) -> dict[str, Any]:
        """Options of the call; those of text encoding have acted where text comes encoded."""
        if type(self._pipe).__name__ not in ENCODED:
            return self._options
        return {key: value for key, value in self._options.items() if key not in TEXT_OPTIONS}

    def _check_lora_acts(self, text: dict[str, Any]) -> None:
        """Raise UserError, once, if one step gives the same latents with the LoRA and without."""
        lora, self._lora = self._lora, None
        if lora is not None:
            lora.check_acts(lambda: self._one_step(text))

    def _one_step(self, text: dict[str, Any]) -> torch.Tensor:
        """Latents of a small picture after one step."""
        side = 8 * self._pipe.vae_scale_factor
        with torch.inference_mode():
            return self._pipe(
                **text,
                generator=torch.Generator("cpu").manual_seed(0),
                num_inference_steps=1,
                guidance_scale=1.0,
                height=side,
                width=side,
                output_type="latent",
                **self._options,
            ).images
