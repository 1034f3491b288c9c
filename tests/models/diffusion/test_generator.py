"""Generation equals the plain diffusers pipeline, for every family, and depends on nothing else."""

import diffusers
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from raypipe.config.model import Lora, Model, Sampler
from raypipe.errors import UserError
from raypipe.models.diffusion.generator import Generator
from tests.support import tiny

SAMPLER = Sampler(scheduler="euler", steps=3, guidance=5.0, width=32, height=32)
PROMPTS = ["a red ball", "a portrait of a woman 😀"]


@pytest.fixture(scope="module", params=["sd15", "sdxl", "pixart"])
def pipeline_directory(request, tmp_path_factory):
    return getattr(tiny, request.param)(tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def sdxl(tmp_path_factory):
    return tiny.sdxl(tmp_path_factory.mktemp("sdxl"))


def generator(directory, sampler=SAMPLER, **more) -> Generator:
    return Generator(Model(name="m", id=str(directory), **more), sampler, "cpu")


def plain(directory, prompt, seed, **more):
    """One picture as a user of diffusers would make it."""
    pipe = diffusers.DiffusionPipeline.from_pretrained(directory)
    pipe.scheduler = diffusers.EulerDiscreteScheduler.from_config(pipe.scheduler.config)
    pipe.set_progress_bar_config(disable=True)
    if isinstance(pipe, diffusers.PixArtAlphaPipeline):
        more |= {"use_resolution_binning": False, "clean_caption": False}
    return pipe(
        prompt,
        generator=torch.Generator("cpu").manual_seed(seed),
        num_inference_steps=3,
        guidance_scale=5.0,
        width=32,
        height=32,
        output_type="np",
        **more,
    ).images[0]


def test_alone_it_is_the_plain_pipeline_to_the_last_bit(pipeline_directory):
    made = generator(pipeline_directory)([PROMPTS[1]], [7]).images_BHWC
    assert np.array_equal(made[0], plain(pipeline_directory, PROMPTS[1], 7))


def test_in_a_batch_it_is_the_plain_pipeline_to_rounding(pipeline_directory):
    prompts, seeds = [*PROMPTS, PROMPTS[0]], [3, 4, 5]
    made = generator(pipeline_directory)(prompts, seeds).images_BHWC
    for image, prompt, seed in zip(made, prompts, seeds, strict=True):
        expected = plain(pipeline_directory, prompt, seed)
        assert np.abs(image - expected).max() < 1e-4
        assert ((image * 255).round() != (expected * 255).round()).mean() < 0.01


def test_a_negative_prompt_is_sent(pipeline_directory):
    sampler = SAMPLER.model_copy(update={"negative_prompt": "blue"})
    made = generator(pipeline_directory, sampler)([PROMPTS[0]], [1]).images_BHWC[0]
    expected = plain(pipeline_directory, PROMPTS[0], 1, negative_prompt="blue")
    assert np.array_equal(made, expected)
    assert not np.array_equal(made, plain(pipeline_directory, PROMPTS[0], 1))


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


def test_the_scheduler_and_steps_of_the_config_are_used(sdxl):
    ddim = SAMPLER.model_copy(update={"scheduler": "ddim"})
    more_steps = SAMPLER.model_copy(update={"steps": 4})
    images = [generator(sdxl, s)(PROMPTS[:1], [0]).images_BHWC for s in (SAMPLER, ddim, more_steps)]
    assert not np.array_equal(images[0], images[1])
    assert not np.array_equal(images[0], images[2])


def test_long_prompts_are_marked(pipeline_directory):
    loaded = generator(pipeline_directory)
    assert loaded.truncated("red ball " * 200)
    assert not loaded.truncated("a red ball")
    assert loaded(["red ball " * 200], [0]).images_BHWC.shape == (1, 32, 32, 3)


def test_a_lora_acts_at_its_scale(sdxl, tmp_path):
    lora = str(tiny.lora(tmp_path / "lora", sdxl))

    def made(scale):
        return generator(sdxl, lora=Lora(id=lora, scale=scale))(PROMPTS[:1], [0]).images_BHWC[0]

    without = generator(sdxl)(PROMPTS[:1], [0]).images_BHWC[0]
    half, full = np.abs(made(0.5) - without).mean(), np.abs(made(1.0) - without).mean()
    assert 0 < half < full


def test_a_lora_that_changes_nothing_is_refused(sdxl, tmp_path):
    lora = tiny.lora(tmp_path / "zero", sdxl, scale=0.0)
    with pytest.raises(UserError, match="must change the picture"):
        generator(sdxl, lora=Lora(id=str(lora)))


def test_a_lora_of_another_model_is_refused(sdxl, tmp_path):
    other = tiny.sd15(tmp_path / "sd15")
    lora = tiny.lora(tmp_path / "lora", other)
    with pytest.raises(UserError, match="does not fit"):
        generator(sdxl, lora=Lora(id=str(lora)))


def test_a_lora_of_which_diffusers_would_drop_a_part_is_loaded_whole(sdxl, tmp_path):
    """diffusers loads one of two mixed layouts and says nothing."""
    file = tiny.lora(tmp_path / "lora", sdxl) / "pytorch_lora_weights.safetensors"
    whole = generator(sdxl, lora=Lora(id=str(file)))(PROMPTS[:1], [0]).images_BHWC
    mixed = {
        key.replace("lora_A", "lora.down").replace("lora_B", "lora.up") if "to_v" in key else key: v
        for key, v in load_file(file).items()
    }
    save_file(mixed, file, metadata={"format": "pt"})
    made = generator(sdxl, lora=Lora(id=str(file)))(PROMPTS[:1], [0]).images_BHWC
    assert np.array_equal(made, whole)


def test_half_precision_loads_as_asked(sdxl):
    loaded = generator(sdxl, dtype="bfloat16")
    made = loaded(PROMPTS[:1], [0]).images_BHWC
    assert made.dtype == np.float32
    assert np.isfinite(made).all()
