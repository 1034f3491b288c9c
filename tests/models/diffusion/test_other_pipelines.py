"""Pipelines of no family that raypipe knows: text goes in as text, LoRAs as diffusers has it."""

import numpy as np
import pytest
from safetensors.torch import load_file

from raypipe.config.model import Lora, Model, Sampler
from raypipe.errors import UserError
from raypipe.models.diffusion.generator import Generator
from raypipe.weights.identity import can_encode_apart
from tests.support import plain, tiny
from tests.support.lora_files import mix_layouts

SAMPLER = Sampler(steps=3, guidance=5.0, width=32, height=32)


@pytest.fixture(scope="module")
def lcm(tiny_models):
    return tiny_models.lcm


@pytest.fixture
def pipe(lcm):
    return plain.pipeline(lcm, scheduler=None)


def generator(directory, **more) -> Generator:
    return Generator(Model(name="m", id=str(directory), **more), SAMPLER, "cpu")


def test_it_is_the_plain_pipeline(lcm, pipe):
    assert not can_encode_apart(Model(name="m", id=str(lcm)))
    made = generator(lcm)
    assert np.array_equal(made(["a red ball"], [7]).images_BHWC[0], plain.picture(pipe, seed=7))
    batch = made(["a blue box", "a red ball"], [3, 7]).images_BHWC
    assert np.abs(batch[1] - plain.picture(pipe, seed=7)).max() < 1e-4
    assert made.truncated("red ball " * 200)
    assert not made.truncated("a red ball")


def test_its_lora_is_what_diffusers_loads(lcm, pipe, tmp_path):
    lora = tiny.lora(tmp_path, lcm)
    without = plain.picture(pipe, seed=7)
    pipe.load_lora_weights(lora, adapter_name="x")
    pipe.set_adapters(["x"], [0.5])
    made = generator(lcm, lora=Lora(id=str(lora), scale=0.5))(["a red ball"], [7]).images_BHWC[0]
    assert np.abs(made - plain.picture(pipe, seed=7)).max() < 1e-6
    assert np.abs(made - without).max() > 1e-3


def test_a_lora_of_which_diffusers_drops_a_part_is_refused(lcm, tmp_path):
    """It loads one of two mixed layouts and says nothing."""
    file = mix_layouts(tiny.lora(tmp_path, lcm))
    n = len(load_file(file)) // 2
    with pytest.raises(UserError, match=f"changes {n} layers, of which {n // 2} were loaded"):
        generator(lcm, lora=Lora(id=str(file)))
