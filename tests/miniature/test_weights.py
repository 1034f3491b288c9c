"""The committed weights load in the stock pipelines and do what quality.json says, loosely."""

import json

import numpy as np
import pytest
import torch

from raypipe.miniature import judge, quality, reward
from raypipe.miniature.captions import STYLE, full_caption
from raypipe.miniature.clip import retrieval
from raypipe.miniature.data import HELD_OUT
from raypipe.miniature.specs import sample_portrait
from raypipe.weights.locate import miniature_path

SPECS = [sample_portrait(HELD_OUT + 500 + i) for i in range(10)]


@pytest.fixture(scope="module")
def sdxl():
    return quality.load(miniature_path("sdxl"))


@pytest.fixture(scope="module")
def pixart():
    return quality.load(miniature_path("pixart"))


@pytest.fixture(scope="module")
def sd15():
    return quality.load(miniature_path("sd15"))


@pytest.fixture(params=["sdxl", "pixart", "sd15"])
def pipeline(request):
    return request.getfixturevalue(request.param)


def test_pipelines_follow_prompts(pipeline):
    pictures = quality.generate(pipeline, [full_caption(spec) for spec in SPECS])
    assert pictures.shape == (len(SPECS), 64, 64, 3)
    shares = quality.follows(pictures, SPECS)
    assert min(shares.values()) >= 0.6, shares


def test_size_by_default_is_64(pipeline):
    is_pixart = "PixArt" in type(pipeline).__name__
    extra = {"use_resolution_binning": False} if is_pixart else {}
    assert pipeline("a portrait", num_inference_steps=1, **extra).images[0].size == (64, 64)


def test_everything_is_float32_when_asked(pipeline):
    parts = [part for part in pipeline.components.values() if isinstance(part, torch.nn.Module)]
    assert {p.dtype for part in parts for p in part.parameters()} == {torch.float32}


def test_pipelines_take_odd_prompts(pipeline):
    pictures = quality.generate(pipeline, ["", "😀\n" * 300, "word " * 500])
    assert pictures.std(axis=(1, 2, 3)).min() > 1


def test_empty_negative_prompt(sdxl):
    """Zeros and the encoded empty prompt were both trained on."""
    prompt = full_caption(SPECS[0])
    options = {"num_inference_steps": 10, "guidance_scale": 5.0, "output_type": "np"}
    none, empty = (
        sdxl(prompt, generator=torch.Generator().manual_seed(1), **kind, **options).images[0]
        for kind in ({}, {"negative_prompt": ""})
    )
    assert judge.background((none * 255).astype(np.uint8)) == judge.background(
        (empty * 255).astype(np.uint8)
    )


def test_lora_hatches_with_its_trigger(sdxl):
    prompts = [f"{full_caption(spec)} {STYLE}" for spec in SPECS]
    plain = quality.generate(sdxl, prompts)
    styled_pipeline = quality.load(miniature_path("sdxl"), miniature_path("lora"))
    styled = quality.generate(styled_pipeline, prompts)
    assert np.median(list(map(judge.hatching, styled))) > 2 * np.median(
        list(map(judge.hatching, plain))
    )
    assert quality.follows(styled, SPECS)["background"] >= 0.6


def test_vae_reconstructs():
    figures = quality.reconstruction(miniature_path("sdxl") / "vae", count=30)
    assert figures["mean_absolute_error"] < 6
    assert figures["face"] >= 0.9


def test_clip_retrieves_its_own_captions():
    assert retrieval(miniature_path("clip"), count=50) >= 0.9


def test_the_reward_prefers_what_fits_and_is_whole():
    assert min(reward.choices(miniature_path("reward"), count=80).values()) >= 0.65


def test_quality_figures_are_recorded():
    figures = json.loads((miniature_path("sdxl").parent / "quality.json").read_text())
    for name in ("sdxl", "pixart", "sd15"):
        assert min(figures[name][key] for key in ("background", "hair", "face")) >= 0.8
    assert min(figures["reward"][key] for key in ("other", "spoiled")) >= 0.7
