"""A tiny pipeline as one file, in the layout of Stability's original code.

Written after the modules of github.com/CompVis/stable-diffusion and Stability-AI/generative-models;
diffusers' own reader of such files is what it is tested against.
"""

import re
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from raypipe.models.lora.ldm_names import unet_name

UNET_WITHOUT_UP_ATTENTION = {"sd15": {"up_blocks.0"}, "sdxl": {"up_blocks.2"}}

VAE_NAMES = (
    (r"(\w+)\.conv_norm_out", r"\1.norm_out"),
    (r"encoder\.down_blocks\.(\d)\.resnets\.(\d)", r"encoder.down.\1.block.\2"),
    (r"encoder\.down_blocks\.(\d)\.downsamplers\.0", r"encoder.down.\1.downsample"),
    (r"mid_block\.attentions\.0\.group_norm", "mid.attn_1.norm"),
    (r"mid_block\.attentions\.0\.to_out\.0", "mid.attn_1.proj_out"),
    (r"mid_block\.attentions\.0\.to_([qkv])", r"mid.attn_1.\1"),
    (r"mid_block\.resnets\.0", "mid.block_1"),
    (r"mid_block\.resnets\.1", "mid.block_2"),
    (r"conv_shortcut", "nin_shortcut"),
)

OPEN_CLIP_NAMES = (
    (r"text_model\.encoder\.layers", "transformer.resblocks"),
    (r"text_model\.final_layer_norm", "ln_final"),
    (r"text_model\.embeddings\.token_embedding", "token_embedding"),
    (r"text_model\.embeddings\.position_embedding\.weight", "positional_embedding"),
    (r"self_attn\.out_proj", "attn.out_proj"),
    (r"layer_norm([12])", r"ln_\1"),
    (r"mlp\.fc1", "mlp.c_fc"),
    (r"mlp\.fc2", "mlp.c_proj"),
)

Tensors = dict[str, torch.Tensor]


def single_file(family: str, directory: Path, path: Path) -> Path:
    """Write the pipeline in `directory`, an "sd15" or "sdxl", as one file."""
    tensors = {f"model.diffusion_model.{k}": v for k, v in _unet(family, directory).items()}
    tensors |= {f"first_stage_model.{k}": v for k, v in _vae(directory).items()}
    text = _with_prefix(load_file(directory / "text_encoder" / "model.safetensors"))
    if family == "sd15":
        tensors |= {f"cond_stage_model.transformer.{k}": v for k, v in text.items()}
    else:
        tensors |= {f"conditioner.embedders.0.transformer.{k}": v for k, v in text.items()}
        second = _open_clip(load_file(directory / "text_encoder_2" / "model.safetensors"))
        tensors |= {f"conditioner.embedders.1.model.{k}": v for k, v in second.items()}
    save_file({k: v.contiguous() for k, v in tensors.items()}, path)
    return path


def _with_prefix(text: Tensors) -> Tensors:
    return {f"text_model.{key.removeprefix('text_model.')}": value for key, value in text.items()}


def _unet(family: str, directory: Path) -> Tensors:
    tensors = {}
    for key, value in load_file(directory / "unet/diffusion_pytorch_model.safetensors").items():
        layer, kind = key.rsplit(".", 1)
        block = ".".join(key.split(".")[:2])
        attention = block not in UNET_WITHOUT_UP_ATTENTION[family]
        tensors[f"{unet_name(layer, 2, attention)}.{kind}"] = value
    return tensors


def _vae(directory: Path) -> Tensors:
    tensors = {}
    for key, value in load_file(directory / "vae/diffusion_pytorch_model.safetensors").items():
        name = re.sub(
            r"decoder\.up_blocks\.(\d)",
            lambda match: f"decoder.up.{3 - int(match.group(1))}",
            key,
        )
        name = re.sub(r"(up\.\d)\.resnets", r"\1.block", name)
        name = re.sub(r"(up\.\d)\.upsamplers\.0", r"\1.upsample", name)
        for pattern, new in VAE_NAMES:
            name = re.sub(pattern, new, name)
        is_projection = "attn_1" in name and value.ndim == 2
        tensors[name] = value[:, :, None, None] if is_projection else value
    return tensors


def _open_clip(text: Tensors) -> Tensors:
    tensors, text = {}, dict(text)
    for key in [key for key in text if ".self_attn.q_proj." in key]:
        kind = key.rsplit(".", 1)[1]
        joined = torch.cat([text.pop(key.replace("q_proj", f"{x}_proj")) for x in "qkv"])
        layer = key.split(".self_attn")[0].replace(
            "text_model.encoder.layers", "transformer.resblocks"
        )
        tensors[f"{layer}.attn.in_proj_{kind}"] = joined
    for key, value in text.items():
        name = key
        for pattern, new in OPEN_CLIP_NAMES:
            name = re.sub(pattern, new, name)
        if name == "text_projection.weight":
            tensors["text_projection"] = value.T
        else:
            tensors[name] = value
    return tensors
