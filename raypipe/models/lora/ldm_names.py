"""Names of a UNet's layers in Stability's original code (LDM, SGM), which diffusers renamed.

The original counts blocks in one row, `input_blocks.0` to `middle_block` to `output_blocks.11`;
diffusers groups them by resolution. Kohya's LoRA files and single-file checkpoints use the
original's names. Source: the configs and modules of github.com/Stability-AI/generative-models
(openaimodel.py).
"""

import re

WHOLE = {
    "conv_in": "input_blocks.0.0",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}

RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}


def unet_name(path: str, resnets_per_block: int, attention_in_up_block: bool) -> str:
    """The original's name of a UNet's layer.

    `path` is the layer's path in diffusers, `resnets_per_block` the config's layers_per_block, and
    `attention_in_up_block` is whether the layer's up block has attention: an upsampler comes after
    it.
    """
    if path in WHOLE:
        return WHOLE[path]
    middle = re.fullmatch(r"mid_block\.(resnets|attentions)\.(\d+)\.(.+)", path)
    if middle:
        kind, index, rest = middle.groups()
        position = 1 if kind == "attentions" else 2 * int(index)
        return f"middle_block.{position}.{_rest(kind, rest)}"
    block = re.fullmatch(r"(down|up)_blocks\.(\d+)\.(\w+)\.(\d+)\.(.+)", path)
    assert block, f"not a layer of a Stable Diffusion UNet: {path}"
    way, level, kind, index, rest = block.groups()
    if way == "down":
        position = int(level) * (resnets_per_block + 1) + int(index) + 1
        if kind == "downsamplers":
            return f"input_blocks.{position + resnets_per_block}.0.op"
        return f"input_blocks.{position}.{int(kind == 'attentions')}.{_rest(kind, rest)}"
    position = int(level) * (resnets_per_block + 1) + int(index)
    if kind == "upsamplers":
        inside = 2 if attention_in_up_block else 1
        return f"output_blocks.{position + resnets_per_block}.{inside}.conv"
    return f"output_blocks.{position}.{int(kind == 'attentions')}.{_rest(kind, rest)}"


def _rest(kind: str, rest: str) -> str:
    return RESNET[rest] if kind == "resnets" else rest
