"""Embeddings equal the libraries' own, used as their documentation says."""

import json
import shutil

import numpy as np
import open_clip
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file

from raypipe.config.networks import Encoder
from raypipe.errors import UserError
from raypipe.models.encoder import LoadedEncoder, needs_quick_gelu
from raypipe.weights.identity import check_exists


@pytest.fixture(scope="module")
def picture():
    pixels = np.random.default_rng(0).integers(0, 255, (40, 56, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


@pytest.fixture(scope="module")
def clip_directory(tiny_models):
    return tiny_models.encoder


def test_open_clip_is_used_as_its_own_loader_would(clip_directory, picture):
    name = f"local-dir:{clip_directory}"
    model, _, transform = open_clip.create_model_and_transforms(name)
    model.eval()
    with torch.inference_mode():
        image = model.encode_image(transform(picture)[None], normalize=True)[0].numpy()
        text = model.encode_text(open_clip.get_tokenizer(name)(["a ball"]), normalize=True)[0]
    encoder = LoadedEncoder(Encoder(id=str(clip_directory)), "cpu")
    made = encoder.images([encoder.preprocess(picture)])
    assert made.dtype == np.float32
    assert np.allclose(made[0], image, atol=1e-6)
    assert np.allclose(encoder.text("a ball"), text.numpy(), atol=1e-6)


def test_a_picture_embeds_the_same_in_any_batch(clip_directory, picture):
    encoder = LoadedEncoder(Encoder(id=str(clip_directory)), "cpu")
    one = encoder.preprocess(picture)
    other = encoder.preprocess(picture.rotate(90))
    together = encoder.images([one, other, one])
    assert np.allclose(together[0], encoder.images([one])[0], atol=1e-6)
    assert np.allclose(np.linalg.norm(together, axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK"])
def test_every_kind_of_picture_is_read(clip_directory, picture, mode):
    encoder = LoadedEncoder(Encoder(id=str(clip_directory)), "cpu")
    pixels = encoder.preprocess(picture.convert(mode))
    assert pixels.shape == (3, 32, 32)
    assert torch.isfinite(pixels).all()


@pytest.fixture(scope="module")
def timm_directory(tmp_path_factory):
    """A tiny DINOv2-shaped vision transformer in timm's directory format."""
    path = tmp_path_factory.mktemp("timm")
    torch.manual_seed(0)
    arguments = {"img_size": 28, "embed_dim": 16, "depth": 1, "num_heads": 2, "num_classes": 0}
    model = timm.create_model("vit_small_patch14_dinov2", **arguments)
    save_file(model.state_dict(), path / "model.safetensors")
    config = {
        "architecture": "vit_small_patch14_dinov2",
        "num_classes": 0,
        "num_features": 16,
        "model_args": {k: v for k, v in arguments.items() if k != "num_classes"},
        "pretrained_cfg": {
            "input_size": [3, 28, 28],
            "mean": [0.5, 0.5, 0.5],
            "std": [0.5, 0.5, 0.5],
            "num_classes": 0,
        },
    }
    (path / "config.json").write_text(json.dumps(config))
    return path, model.eval()


def test_timm_models_embed_and_read_no_text(timm_directory, picture):
    path, model = timm_directory
    encoder = LoadedEncoder(Encoder(library="timm", id=str(path)), "cpu")
    pixels = encoder.preprocess(picture)
    assert pixels.shape == (3, 28, 28)
    with torch.inference_mode():
        expected = torch.nn.functional.normalize(model(pixels[None]), dim=1)[0].numpy()
    assert np.allclose(encoder.images([pixels])[0], expected, atol=1e-6)
    assert encoder.text("a ball") is None


def test_the_papers_encoder_exists():
    check_exists(Encoder())
    check_exists(Encoder(library="timm", id="vit_small_patch14_dinov2"))


@pytest.mark.parametrize(
    ("config", "quick"),
    [
        (Encoder(), True),
        (Encoder(id="ViT-L-14"), True),
        (Encoder(id="ViT-B-32-quickgelu"), True),
        (Encoder(id="ViT-B-32", pretrained="laion2b_s34b_b79k"), False),
        (Encoder(id="ViT-H-14", pretrained="laion2b_s32b_b79k"), False),
    ],
)
def test_openai_weights_get_their_own_activation(config, quick):
    assert needs_quick_gelu(config) is quick


@pytest.mark.parametrize("config", [Encoder(), Encoder(pretrained="laion2b_s34b_b79k")])
def test_the_activation_reaches_the_model(config):
    quick = needs_quick_gelu(config)
    model = open_clip.create_model(
        config.id, load_weights=False, force_quick_gelu=quick, device="meta"
    )
    assert any(type(part).__name__ == "QuickGELU" for part in model.modules()) is quick


def test_damaged_weights_are_the_users_mistake(clip_directory, tmp_path):
    damaged = shutil.copytree(clip_directory, tmp_path / "damaged")
    weights = damaged / "open_clip_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:500])
    with pytest.raises(UserError, match="cannot be loaded"):
        LoadedEncoder(Encoder(id=str(damaged)), "cpu")
