"""Pictures of several shapes, and published layouts at small size."""

import json

import numpy as np
import open_clip
import pytest
import torch
import transformers
from PIL import Image

from raypipe.miniature.tokenizers import clip_tokenizer

CAPTIONS = ["a red ball on a blue box", "a portrait of a woman with dark hair"]


@pytest.fixture(scope="session")
def pictures():
    rng = np.random.default_rng(0)

    def noise(height, width, grain):
        coarse = rng.integers(0, 255, (height // grain, width // grain, 3), dtype=np.uint8)
        return Image.fromarray(coarse).resize((width, height), Image.Resampling.BILINEAR)

    return [noise(64, 64, 4), noise(96, 48, 8), noise(40, 120, 2), noise(28, 28, 1)]


@pytest.fixture(scope="session")
def prompts():
    return [CAPTIONS[0], CAPTIONS[1], CAPTIONS[0], "a dog"]


@pytest.fixture(scope="session")
def vit_h(tmp_path_factory):
    """ViT-H-14 of open_clip, as deep as published and narrow: (directory, model)."""
    path = tmp_path_factory.mktemp("vit-h")
    published = open_clip.get_model_config("ViT-H-14")
    config = {
        "embed_dim": 16,
        "vision_cfg": {
            **published["vision_cfg"],
            "image_size": 28,
            "width": 16,
            "head_width": 8,
        },
        "text_cfg": {**published["text_cfg"], "context_length": 20, "width": 16, "heads": 2},
    }
    (path / "open_clip_config.json").write_text(json.dumps({"model_cfg": config}))
    torch.manual_seed(5)
    return path, open_clip.CLIP(**config).eval()


@pytest.fixture(scope="session")
def pickscore_directory(tmp_path_factory):
    """A CLIPModel with ViT-H-14's depths and activation, and a processor beside it."""
    path = tmp_path_factory.mktemp("pickscore")
    tokenizer = clip_tokenizer(CAPTIONS)
    narrow = {"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2}
    config = transformers.CLIPConfig(
        text_config={
            **narrow,
            "num_hidden_layers": 24,
            "hidden_act": "gelu",
            "vocab_size": len(tokenizer),
            "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
        },
        vision_config={
            **narrow,
            "num_hidden_layers": 32,
            "hidden_act": "gelu",
            "patch_size": 14,
            "image_size": 28,
        },
        projection_dim=16,
    )
    torch.manual_seed(6)
    transformers.CLIPModel(config).save_pretrained(path)
    side = {"height": 28, "width": 28}
    images = transformers.CLIPImageProcessor(size={"shortest_edge": 28}, crop_size=side)
    transformers.CLIPProcessor(images, tokenizer).save_pretrained(path)
    return path


@pytest.fixture
def batches_change_nothing(pictures, prompts):
    """Asserts that a metric scores each picture alike alone, in another order and among others."""

    def check(score, atol=1e-4):
        together = score(pictures, prompts)
        assert together.shape == (4,)
        assert together.dtype == np.float64
        assert np.isfinite(together).all()
        alone = [score([p], [t])[0] for p, t in zip(pictures, prompts, strict=True)]
        backward = score(pictures[::-1], prompts[::-1])[::-1]
        assert np.allclose(together, alone, atol=atol)
        assert np.allclose(together, backward, atol=atol)
        assert score([], []).shape == (0,)
        assert np.ptp(together) > 10 * atol  # else equality would say nothing
        return together

    return check
