"""Projections of the text are computed once a picture, and change no bit of it."""

import numpy as np
import pytest
import torch

from raypipe.config.model import Model, Sampler
from raypipe.models.diffusion.generator import Generator
from raypipe.models.diffusion.text_once import text_projected_once

SAMPLER = Sampler(scheduler="euler", steps=3, guidance=5.0, width=32, height=32)


def keys(generator: Generator) -> torch.nn.Module:
    """The layer that projects the text to the keys of some cross-attention."""
    denoiser = getattr(generator._pipe, "unet", None) or generator._pipe.transformer
    return next(m for name, m in denoiser.named_modules() if name.endswith("attn2.to_k"))


@pytest.mark.parametrize("name", ["sd15", "sdxl", "pixart"])
@pytest.mark.parametrize(("interval", "passes"), [(None, 1), ((0.0, 0.5), 2)])
def test_text_is_projected_once_a_batch(tiny_models, monkeypatch, name, interval, passes):
    sampler = SAMPLER.model_copy(update={"guidance_interval": interval})
    generator = Generator(Model(name="m", id=str(getattr(tiny_models, name))), sampler, "cpu")
    layer, seen = keys(generator), []
    plain = type(layer).forward
    monkeypatch.setattr(
        type(layer),
        "forward",
        lambda self, x: (seen.append(1) if self is layer else None, plain(self, x))[1],
    )
    generator(["a red ball", "a blue box"], [0, 1])
    assert len(seen) == passes
    generator(["a green cone", "a blue box"], [0, 1])
    assert len(seen) == 2 * passes


def test_another_text_is_projected_again():
    layer = torch.nn.Sequential()
    layer.add_module("attn2", torch.nn.ModuleDict({"to_k": torch.nn.Linear(4, 4)}))
    to_k = layer.attn2["to_k"]
    texts = torch.randn(4, 3, 4)
    with text_projected_once(layer), torch.inference_mode():
        for text in (texts, texts, texts[2:], texts[:2], texts[2:].clone(), texts):
            assert torch.equal(to_k(text), torch.nn.functional.linear(text, to_k.weight, to_k.bias))
    assert "forward" not in vars(to_k)


def test_a_second_prompt_is_not_drawn_from_the_first_ones_text(tiny_models):
    model = Model(name="m", id=str(tiny_models.sdxl))
    one = Generator(model, SAMPLER, "cpu")
    one(["a red ball"], [0])
    again = one(["a blue box"], [0]).images_BHWC
    assert np.array_equal(again, Generator(model, SAMPLER, "cpu")(["a blue box"], [0]).images_BHWC)
