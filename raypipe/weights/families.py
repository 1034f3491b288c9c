"""What differs between families of diffusers pipelines; imports nothing heavy."""

from raypipe.errors import UserError

_SD = ("prompt_embeds", "negative_prompt_embeds")
_SDXL = (*_SD, "pooled_prompt_embeds", "negative_pooled_prompt_embeds")

ENCODED = {
    "StableDiffusionPipeline": _SD,
    "StableDiffusionInpaintPipeline": _SD,
    "StableDiffusionXLPipeline": _SDXL,
    "StableDiffusionXLInpaintPipeline": _SDXL,
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

TEXT_OPTIONS = ("clip_skip", "clean_caption", "max_sequence_length")
"""Options that act when text is encoded, which a call with encoded text would not read."""

TEXT_PARTS = ("text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2")
"""Parts of a pipeline that encode text."""

INPAINTING = {
    "StableDiffusionPipeline": "StableDiffusionInpaintPipeline",
    "StableDiffusionInpaintPipeline": "StableDiffusionInpaintPipeline",
    "StableDiffusionXLPipeline": "StableDiffusionXLInpaintPipeline",
    "StableDiffusionXLInpaintPipeline": "StableDiffusionXLInpaintPipeline",
}
"""The pipeline that inpaints with the components of each."""


def inpainting_of(pipeline: str, model: str) -> str:
    """The pipeline that inpaints with a pipeline's components. UserError where there is none."""
    if pipeline not in INPAINTING:
        raise UserError(
            f"a model that inpaints must be of Stable Diffusion 1.5 or SDXL, got {pipeline} "
            f"(model {model})"
        )
    return INPAINTING[pipeline]
