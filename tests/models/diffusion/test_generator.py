"""Generation equals the plain diffusers pipeline, for every family, and depends on nothing else."""

import shutil

import diffusers
import numpy as np
import pytest

from raypipe.config.model import Lora, Model, Sampler
from raypipe.errors import UserError
from raypipe.models.diffusion.generator import Generator
from tests.support import plain, tiny
from tests.support.lora_files import mix_layouts

SAMPLER = Sampler(scheduler="euler", steps=3, guidance=5.0, width=32, height=32)
PROMPTS = ["a red ball", "a portrait of a woman 😀"]


@pytest.fixture(scope="module", params=["sd15", "sdxl", "pixart"])
def directory(request, tiny_models):
    return getattr(tiny_models, request.param)


@pytest.fixture(scope="module")
def pipe(directory):
    """As a user of diffusers would load it."""
    return plain.pipeline(directory)


@pytest.fixture(scope="module")
def loaded(directory):
    return generator(directory)


@pytest.fixture(scope="module")
def sdxl(tiny_models):
    return tiny_models.sdxl


@pytest.fixture(scope="module")
def usual(sdxl):
    """What SDXL makes with nothing changed."""
    return picture(sdxl)


def generator(directory, sampler=SAMPLER, **more) -> Generator:
    return Generator(Model(name="m", id=str(directory), **more), sampler, "cpu")


def picture(directory, sampler=SAMPLER, **more):
    return generator(directory, sampler, **more)(PROMPTS[:1], [0]).images_BHWC[0]


def test_alone_it_is_the_plain_pipeline_to_the_last_bit(loaded, pipe):
    made = loaded([PROMPTS[1]], [7]).images_BHWC
    assert np.array_equal(made[0], plain.picture(pipe, PROMPTS[1], 7))


def test_in_a_batch_it_is_the_plain_pipeline_to_rounding(loaded, pipe):
    prompts, seeds = [*PROMPTS, PROMPTS[0]], [3, 4, 5]
    made = loaded(prompts, seeds).images_BHWC
    for image, prompt, seed in zip(made, prompts, seeds, strict=True):
        expected = plain.picture(pipe, prompt, seed)
        assert np.abs(image - expected).max() < 1e-4
        assert ((image * 255).round() != (expected * 255).round()).mean() < 0.01


def test_a_negative_prompt_is_sent(directory, pipe):
    sampler = SAMPLER.model_copy(update={"negative_prompt": "blue"})
    made = generator(directory, sampler)([PROMPTS[0]], [1]).images_BHWC[0]
    assert np.array_equal(made, plain.picture(pipe, negative_prompt="blue"))
    assert not np.array_equal(made, plain.picture(pipe))


def test_each_prompt_is_encoded_once(sdxl, monkeypatch):
    encoded = []
    encode = diffusers.StableDiffusionXLPipeline.encode_prompt

    def counted(self, prompt=None, **more):
        encoded.append(prompt)
        return encode(self, prompt, **more)

    loaded = generator(sdxl)
    monkeypatch.setattr(diffusers.StableDiffusionXLPipeline, "encode_prompt", counted)
    loaded([PROMPTS[0]] * 3 + [PROMPTS[1]], [0, 1, 2, 0])
    loaded([PROMPTS[1]] * 2, [1, 2])
    # the pipeline's own call passes embeddings through, with no prompt
    assert [prompt for prompt in encoded if prompt is not None] == PROMPTS


@pytest.mark.parametrize("change", [{"scheduler": "ddim"}, {"steps": 4}])
def test_the_scheduler_and_steps_of_the_config_are_used(sdxl, usual, change):
    assert not np.array_equal(picture(sdxl, SAMPLER.model_copy(update=change)), usual)


def test_long_prompts_are_marked(loaded):
    assert loaded.truncated("red ball " * 200)
    assert not loaded.truncated("a red ball")
    assert loaded(["red ball " * 200], [0]).images_BHWC.shape == (1, 32, 32, 3)


def test_a_lora_that_changes_nothing_is_refused(sdxl, tmp_path):
    lora = tiny.lora(tmp_path / "zero", sdxl, scale=0.0)
    with pytest.raises(UserError, match="must change the picture"):
        generator(sdxl, lora=Lora(id=str(lora)))


def test_a_lora_of_another_model_is_refused(tiny_models):
    with pytest.raises(UserError, match="does not fit"):
        generator(tiny_models.sd15, lora=Lora(id=str(tiny_models.lora)))


def test_a_lora_of_which_diffusers_would_drop_a_part_is_loaded_whole(sdxl, tiny_models, tmp_path):
    """diffusers loads one of two mixed layouts and says nothing."""
    file = mix_layouts(shutil.copytree(tiny_models.lora, tmp_path / "lora"))
    whole = picture(sdxl, lora=Lora(id=str(tiny_models.lora)))
    assert np.array_equal(picture(sdxl, lora=Lora(id=str(file))), whole)


def test_half_precision_loads_as_asked(sdxl):
    loaded = generator(sdxl, dtype="bfloat16")
    made = loaded(PROMPTS[:1], [0]).images_BHWC
    assert made.dtype == np.float32
    assert np.isfinite(made).all()
