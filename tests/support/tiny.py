"""Real architectures at a tiny width, with random weights, saved in the real formats.

Every family has the levels, blocks and depths of the published model, only narrower; so names of
layers, conversions and loaders are exercised as they are, in a second or two. What pictures they
make does not matter. Pictures are 32×32.
"""

import json
from pathlib import Path
from typing import Any

import diffusers
import open_clip
import torch
import transformers
from safetensors.torch import save_file

from raypipe.miniature.tokenizers import clip_tokenizer, t5_tokenizer

CAPTIONS = ["a red ball on a blue box", "a portrait of a woman with dark hair"]
WIDTH = 16


def clip_text(cls: type, tokenizer, layers: int, width: int = WIDTH):
    """A CLIP text encoder."""
    config = transformers.CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=layers,
        num_attention_heads=max(2, width // 64),
        projection_dim=width,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return cls(config).eval()


def vae(channels: tuple[int, ...] = (4, 8, 8, 8), **options: Any) -> diffusers.AutoencoderKL:
    """Stable Diffusion's VAE: 32×32 pixels are 4×4 latents."""
    return diffusers.AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=channels,
        layers_per_block=2,
        norm_num_groups=min(32, channels[0]),
        latent_channels=4,
        **{"sample_size": 32} | options,
    )


def sd_unet(**options: Any) -> diffusers.UNet2DConditionModel:
    """The UNet of Stable Diffusion 1.5."""
    return diffusers.UNet2DConditionModel(
        sample_size=4,
        block_out_channels=(8, 16, 16, 16),
        cross_attention_dim=WIDTH,
        attention_head_dim=2,
        norm_num_groups=4,
        **options,
    )


def save_sd(path: Path, kind: Any, vae: Any, unet: Any, scheduler: Any = None) -> Path:
    """A pipeline in the layout of Stable Diffusion 1.5, without a safety checker."""
    tokenizer = clip_tokenizer(CAPTIONS)
    width = unet.config["cross_attention_dim"]
    kind(
        vae=vae,
        text_encoder=clip_text(transformers.CLIPTextModel, tokenizer, 12, width),
        tokenizer=tokenizer,
        unet=unet,
        scheduler=scheduler
        or diffusers.DDIMScheduler(
            clip_sample=False, beta_schedule="scaled_linear", steps_offset=1
        ),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(path)
    return path


def sd15(path: Path) -> Path:
    """Stable Diffusion 1.5: one text encoder, PNDM replaced by DDIM, no safety checker."""
    torch.manual_seed(0)
    return save_sd(path, diffusers.StableDiffusionPipeline, vae(), sd_unet())


def sd15_inpainting(path: Path) -> Path:
    """Stable Diffusion 1.5 inpainting: the UNet reads a mask and a masked picture too."""
    torch.manual_seed(0)
    return save_sd(path, diffusers.StableDiffusionInpaintPipeline, vae(), sd_unet(in_channels=9))


def lcm(path: Path) -> Path:
    """A latent consistency model: a pipeline that raypipe has no knowledge of."""
    torch.manual_seed(5)
    unet = sd_unet(time_cond_proj_dim=8)
    kind = diffusers.LatentConsistencyModelPipeline
    return save_sd(path, kind, vae(), unet, diffusers.LCMScheduler())


def sdxl_unet(**options: Any) -> diffusers.UNet2DConditionModel:
    """SDXL's UNet; `options` says how wide it is."""
    return diffusers.UNet2DConditionModel(
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=(1, 2, 10),
        use_linear_projection=True,
        addition_embed_type="text_time",
        **options,
    )


def save_sdxl(
    path: Path, kind: Any, vae: Any, unet: Any, widths: tuple[int, int], layers: tuple[int, int]
) -> Path:
    """A pipeline in SDXL's layout; `widths` and `layers` are those of its two text encoders."""
    tokenizer = clip_tokenizer(CAPTIONS)
    texts = (transformers.CLIPTextModel, transformers.CLIPTextModelWithProjection)
    first, second = (
        clip_text(cls, tokenizer, n, width)
        for cls, n, width in zip(texts, layers, widths, strict=True)
    )
    kind(
        vae=vae,
        text_encoder=first,
        text_encoder_2=second,
        tokenizer=tokenizer,
        tokenizer_2=tokenizer,
        unet=unet,
        scheduler=diffusers.EulerDiscreteScheduler(beta_schedule="scaled_linear"),
    ).save_pretrained(path)
    return path


def sdxl(path: Path) -> Path:
    """SDXL: two text encoders, of unequal widths, and size conditioning."""
    return _sdxl(path, diffusers.StableDiffusionXLPipeline, 4)


def sdxl_inpainting(path: Path) -> Path:
    """SDXL inpainting: the UNet reads a mask and a masked picture too."""
    return _sdxl(path, diffusers.StableDiffusionXLInpaintPipeline, 9)


def _sdxl(path: Path, kind: Any, channels: int) -> Path:
    torch.manual_seed(1)
    unet = sdxl_unet(
        in_channels=channels,
        sample_size=4,
        block_out_channels=(8, 16, 16),
        attention_head_dim=(1, 2, 4),
        cross_attention_dim=3 * WIDTH,
        norm_num_groups=4,
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=6 * 8 + 2 * WIDTH,
    )
    return save_sdxl(path, kind, vae(), unet, (WIDTH, 2 * WIDTH), (12, 32))


def pixart(path: Path) -> Path:
    """PixArt-α XL-2: a T5 encoder and a transformer of 28 blocks that learns sigma."""
    torch.manual_seed(2)
    tokenizer = t5_tokenizer(CAPTIONS)
    config = transformers.T5Config(
        vocab_size=len(tokenizer),
        d_model=WIDTH,
        d_ff=2 * WIDTH,
        d_kv=8,
        num_layers=24,
        num_heads=2,
        feed_forward_proj="gated-gelu",
    )
    diffusers.PixArtAlphaPipeline(
        vae=vae(),
        text_encoder=transformers.T5EncoderModel(config).eval(),
        tokenizer=tokenizer,
        transformer=diffusers.PixArtTransformer2DModel(
            num_attention_heads=2,
            attention_head_dim=8,
            in_channels=4,
            out_channels=8,
            num_layers=28,
            cross_attention_dim=16,
            caption_channels=WIDTH,
            sample_size=4,
            patch_size=2,
            norm_num_groups=4,
        ),
        scheduler=diffusers.DPMSolverMultistepScheduler(),
    ).save_pretrained(path)
    return path


def encoder(path: Path) -> Path:
    """An open_clip model in a directory, as `local-dir:` loads it."""
    torch.manual_seed(3)
    tower = {"width": 16, "layers": 1}
    model_config = {
        "embed_dim": 16,
        "vision_cfg": {**tower, "image_size": 32, "patch_size": 8, "head_width": 8},
        "text_cfg": {**tower, "context_length": 16, "vocab_size": 49408, "heads": 2},
    }
    model = open_clip.CLIP(**model_config)
    path.mkdir(parents=True, exist_ok=True)
    save_file(model.state_dict(), path / "open_clip_model.safetensors")
    mean_std = {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}
    whole = {"model_cfg": model_config, "preprocess_cfg": mean_std}
    (path / "open_clip_config.json").write_text(json.dumps(whole))
    return path


def lora(path: Path, base: Path, *, scale: float = 0.1) -> Path:
    """A LoRA on attention of a tiny UNet, in diffusers' layout; scale 0 changes nothing."""
    torch.manual_seed(4)
    model = diffusers.UNet2DConditionModel.from_pretrained(base, subfolder="unet")
    tensors = {}
    for name, module in model.named_modules():
        if name.endswith(("to_q", "to_v")) and ".transformer_blocks.0." in name:
            tensors[f"unet.{name}.lora_A.weight"] = torch.randn(2, module.in_features)
            tensors[f"unet.{name}.lora_B.weight"] = scale * torch.randn(module.out_features, 2)
    path.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path / "pytorch_lora_weights.safetensors", metadata={"format": "pt"})
    return path
