"""Guidance in a part of the steps: against a loop written by hand, and what is refused."""

import diffusers
import numpy as np
import pytest
import torch
from pydantic import ValidationError

from raypipe.config.model import Model, Sampler
from raypipe.errors import UserError
from raypipe.models.diffusion.generator import Generator
from raypipe.studies.consistency.plan import make_plan
from tests.support import tiny

SAMPLER = Sampler(scheduler="euler", steps=4, guidance=5.0, width=32, height=32)
PROMPTS = ["a red ball", "a blue box"]


def within(*interval: float) -> Sampler:
    return SAMPLER.model_copy(update={"guidance_interval": interval})


def made(path, sampler, counts=None) -> np.ndarray:
    generator = Generator(Model(name="m", id=str(path)), sampler, "cpu")
    if counts is not None:
        denoiser = getattr(generator._pipe, "unet", None) or generator._pipe.transformer
        first = denoiser.conv_in if hasattr(denoiser, "conv_in") else denoiser.pos_embed
        first.register_forward_pre_hook(lambda _, args: counts.append(len(args[0])))
    return generator(PROMPTS, [3, 4]).images_BHWC


@pytest.fixture(params=["sd15", "sdxl", "pixart"])
def path(request, tiny_models):
    return getattr(tiny_models, request.param)


def test_the_whole_interval_is_plain_guidance_to_the_last_bit(path):
    assert np.array_equal(made(path, within(0, 1)), made(path, SAMPLER))


def test_outside_the_interval_the_denoiser_sees_half_the_rows(path):
    counts: list[int] = []
    made(path, within(0.25, 0.75), counts)
    assert counts == [2, 4, 4, 2]


def test_it_is_the_loop_written_by_hand(tiny_models):
    pipe = diffusers.DiffusionPipeline.from_pretrained(tiny_models.sd15)
    scheduler = diffusers.EulerDiscreteScheduler.from_config(pipe.scheduler.config)
    scheduler.set_timesteps(4)
    images = []
    with torch.inference_mode():
        for prompt, seed in zip(PROMPTS, [3, 4], strict=True):
            text, negative = pipe.encode_prompt(prompt, "cpu", 1, True)
            noise = torch.randn(1, 4, 4, 4, generator=torch.Generator().manual_seed(seed))
            latents = noise * scheduler.init_noise_sigma
            for step, t in enumerate(scheduler.timesteps):
                scaled = scheduler.scale_model_input(latents, t)
                error = pipe.unet(scaled, t, text).sample
                if step < 2:
                    unconditional = pipe.unet(scaled, t, negative).sample
                    error = unconditional + 5.0 * (error - unconditional)
                latents = scheduler.step(error, t, latents).prev_sample
            scheduler.set_timesteps(4)
            decoded = pipe.vae.decode(latents / pipe.vae.config.scaling_factor).sample
            images.append((decoded / 2 + 0.5).clamp(0, 1)[0].permute(1, 2, 0).numpy())
    assert np.abs(made(tiny_models.sd15, within(0, 0.5)) - np.stack(images)).max() < 1e-4


def test_a_second_call_begins_at_its_first_step(tiny_models):
    generator = Generator(Model(name="m", id=str(tiny_models.sdxl)), within(0, 0.5), "cpu")
    first, again = (generator(PROMPTS, [3, 4]).images_BHWC for _ in range(2))
    assert np.array_equal(first, again)


def test_an_interval_is_part_of_a_samples_id_only_where_there_is_one(study):
    def ids(**sampler):
        config = study(sampler={"width": 32, "height": 32, "steps": 2, **sampler})
        return make_plan(config).samples()["sample_id"].to_pylist()

    assert "guidance_interval" not in SAMPLER.model_dump(mode="json")
    assert ids() == ids(guidance_interval=None)
    assert not {*ids()} & {*ids(guidance_interval=[0, 0.5])}


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"guidance_interval": [0.5, 0.5]}, "low < high"),
        ({"guidance_interval": [0, 1.5]}, "less than or equal to 1"),
        ({"guidance_interval": [-0.5, 1]}, "greater than or equal to 0"),
        ({"guidance_interval": [0, 0.5], "guidance": 1}, "needs guidance above 1"),
    ],
)
def test_an_interval_that_makes_no_sense_is_refused(keys, told):
    with pytest.raises(ValidationError, match=told):
        Sampler(**keys)
    with pytest.raises(ValidationError, match=told):
        Model(name="m", id="d", sampler=keys)


def test_a_models_own_guidance_must_go_with_the_runs_interval(study):
    with pytest.raises((ValidationError, UserError), match="needs guidance above 1"):
        study(
            sampler={"guidance_interval": [0, 0.5]},
            models=[{"name": "m", "id": "miniature/sdxl", "sampler": {"guidance": 1}}],
        )


def test_a_pipeline_that_guides_in_another_way_is_refused(tmp_path):
    with pytest.raises(UserError, match="two halves of a batch"):
        made(tiny.lcm(tmp_path / "lcm"), within(0, 0.5))
