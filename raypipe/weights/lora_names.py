"""How LoRA files name the layers that they change; imports nothing heavy."""

DOWN = (
    ".lora_A.weight",
    ".lora_A.default.weight",
    ".lora.down.weight",
    "_lora.down.weight",
    ".lora_linear_layer.down.weight",
    ".lora_down.weight",
)
"""How the key of a layer's first matrix ends, in each layout.

In order: peft; peft with its adapter's name; diffusers; its oldest files; its text encoders; kohya.
"""

PREFIXES = {
    "base_model.model.": "denoiser",
    "unet.": "denoiser",
    "transformer.": "denoiser",
    "lora_unet_": "denoiser",
    "lora_transformer_": "denoiser",
    "text_encoder.": "text_encoder",
    "text_encoder_2.": "text_encoder_2",
    "lora_te_": "text_encoder",
    "lora_te1_": "text_encoder",
    "lora_te2_": "text_encoder_2",
}
"""Which part of a pipeline a layer belongs to, by how its name begins; without one, the denoiser.

In order: peft; diffusers (unet, transformer); kohya; and the same for text encoders.
"""

ORIGINAL = ("input_blocks", "middle_block", "output_blocks", "time_embed_", "label_emb", "out_2")
"""Prefixes of the names of SDXL's layers in the original code (`ldm_names`)."""


def part_of(name: str) -> tuple[str, str]:
    """The part of a pipeline that a layer of a file belongs to, and the layer's name in it."""
    prefix = next((prefix for prefix in PREFIXES if name.startswith(prefix)), "")
    return PREFIXES.get(prefix, "denoiser"), name.removeprefix(prefix).replace(".processor", "")


def names_of(path: str, part: str) -> list[str]:
    """Every name that files have for the layer at `path`, in diffusers' way and in kohya's."""
    names = [path]
    if part.startswith("text_encoder"):  # transformers has nested text models, and has not
        bare = path.removeprefix("text_model.")
        names = [bare, f"text_model.{bare}"]
    if path.endswith("to_out.0"):
        names.append(path.removesuffix(".0"))  # in diffusers' oldest files
    return [*names, *(name.replace(".", "_") for name in names)]
