"""Inpainting faces equals the plain diffusers pipeline inside the mask, and nothing outside."""

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image

from raypipe.config.model import Lora, Model, Sampler
from raypipe.core.masks import box_mask, paste
from raypipe.errors import UserError
from raypipe.models.diffusion.inpaint import Inpainter, Task, repainted
from tests.support import plain, tiny

SAMPLER = Sampler(scheduler="ddim", steps=4, guidance=5.0, width=32, height=32)
FAMILIES = ["sd15", "sd15_inpainting", "sdxl", "sdxl_inpainting"]
MASK = box_mask((8, 8, 24, 24), (32, 32), feather=3)
WHOLE = (0, 0, 32, 32)


@pytest.fixture(scope="module", params=FAMILIES)
def directory(request, tiny_models):
    return getattr(tiny_models, request.param)


@pytest.fixture(scope="module")
def painter(directory):
    return inpainter(directory)


@pytest.fixture(scope="module")
def sd15(tiny_models):
    return tiny_models.sd15


@pytest.fixture(scope="module")
def sd15_painter(sd15):
    return inpainter(sd15)


def inpainter(directory, sampler=SAMPLER, **more) -> Inpainter:
    return Inpainter(Model(name="m", id=str(directory), **more), sampler, "cpu")


def photo(seed=0, height=32, width=32):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def task(seed=0, **more) -> Task:
    given = {"photo_HWC": photo(seed), "mask_HW": MASK, "region": WHOLE, "prompt": "a red ball"}
    return Task(**{**given, "seed": seed, "strength": 0.75, **more})


def painted(directory, prompt, seed, strength, pixels, hard_mask):
    """The painted region as a user of diffusers would make it."""
    pipe = plain.pipeline(directory, diffusers.DDIMScheduler, diffusers.AutoPipelineForInpainting)
    image, mask = Image.fromarray(pixels), Image.fromarray(hard_mask)
    return plain.picture(pipe, prompt, seed, 4, image=image, mask_image=mask, strength=strength)


@pytest.mark.parametrize("strength", [0.5, 1.0])
def test_alone_it_is_the_plain_pipeline_to_the_last_bit(directory, painter, strength):
    one = task(3, strength=strength)
    (made,) = painter([one])
    hard = np.zeros((32, 32), np.uint8)
    hard[8:24, 8:24] = 255  # whole latents of 8 pixels
    image = painted(directory, "a red ball", 3, strength, one.photo_HWC, hard)
    levels = (image * 255).round().astype(np.uint8)
    assert made.reason is None
    assert np.array_equal(made.photo_HWC, paste(one.photo_HWC, levels, MASK))
    assert np.array_equal(made.photo_HWC[MASK == 0], one.photo_HWC[MASK == 0])
    assert (made.photo_HWC[MASK == 1] != one.photo_HWC[MASK == 1]).mean() > 0.9


def test_in_a_batch_of_several_strengths_it_is_the_same_to_rounding(painter):
    tasks = [task(i, strength=s) for i, s in enumerate([0.5, 1.0, 0.5, 0.75, 1.0])]
    together = painter(tasks)
    for one, made in zip(tasks, together, strict=True):
        (alone,) = painter([one])
        difference = np.abs(made.photo_HWC.astype(int) - alone.photo_HWC)
        assert difference.max() <= 1
        assert (difference > 0).mean() < 0.01


def test_seeds_and_prompts_and_strengths_matter(sd15_painter):
    first = task(1)
    others = [
        task(2, photo_HWC=photo(1)),
        task(1, strength=1.0),
        task(1, prompt="a portrait of a woman"),
        task(1, photo_HWC=photo(9)),
    ]
    made = [one.photo_HWC for one in sd15_painter([first, *others])]
    assert all(not np.array_equal(made[0], other) for other in made[1:])


def test_a_region_of_a_larger_photo_is_painted_and_the_rest_kept(sd15, sd15_painter):
    large = photo(5, 90, 120)
    mask = box_mask((50, 30, 80, 70), (90, 120), feather=4)
    region = (40, 10, 104, 74)
    one = task(photo_HWC=large, mask_HW=mask, region=region)
    (made,) = sd15_painter([one])
    assert made.photo_HWC.shape == large.shape
    assert np.array_equal(made.photo_HWC[mask == 0], large[mask == 0])
    part = Image.fromarray(large[10:74, 40:104]).resize((32, 32), Image.Resampling.LANCZOS)
    hard = repainted(one, (32, 32), 8)
    image = painted(sd15, "a red ball", 0, 0.75, np.asarray(part), np.asarray(hard))
    levels = Image.fromarray((image * 255).round().astype(np.uint8))
    whole = large.copy()
    whole[10:74, 40:104] = np.asarray(levels.resize((64, 64), Image.Resampling.LANCZOS))
    assert np.array_equal(made.photo_HWC, paste(large, whole, mask))


def test_every_latent_under_the_mask_is_painted():
    for box in ((9, 9, 11, 12), (7.6, 3, 16.4, 20), (-3, 15, 5, 40)):
        mask = box_mask(box, (32, 32), feather=0.3)
        painted = np.asarray(repainted(task(mask_HW=mask), (32, 32), 8))
        assert set(np.unique(painted)) == {0, 255}
        assert (painted[mask > 0] == 255).all()
        for row, column in np.ndindex(4, 4):
            block = np.s_[8 * row : 8 * row + 8, 8 * column : 8 * column + 8]
            assert (painted[block] == 255 * (mask[block] > 0).any()).all()


def test_the_roundtrip_is_the_vae_alone_with_the_same_mask(directory, painter):
    tasks = [task(1), task(2)]
    made = painter.roundtrip(tasks)
    vae = diffusers.AutoencoderKL.from_pretrained(directory, subfolder="vae")
    for one, good in zip(tasks, made, strict=True):
        x = torch.tensor(one.photo_HWC).permute(2, 0, 1)[None] / 127.5 - 1
        with torch.no_grad():
            y = vae.decode(vae.encode(x).latent_dist.mean).sample[0]
        levels = ((y.permute(1, 2, 0).numpy() / 2 + 0.5).clip(0, 1) * 255).round().astype(np.uint8)
        expected = paste(one.photo_HWC, levels, MASK)
        assert np.abs(good.photo_HWC.astype(int) - expected).max() <= 1
        assert np.array_equal(good.photo_HWC[MASK == 0], one.photo_HWC[MASK == 0])


def test_half_precision_paints_and_the_vae_keeps_its_type(directory):
    loaded = inpainter(directory, dtype="bfloat16")
    before = loaded._pipe.vae.dtype
    assert loaded.roundtrip([task()])[0].reason is None
    assert loaded._pipe.vae.dtype == before == torch.bfloat16
    assert loaded([task()])[0].reason is None


def test_pictures_that_are_not_numbers_have_a_reason(sd15):
    loaded = inpainter(sd15)
    with torch.no_grad():
        loaded._pipe.vae.decoder.conv_out.bias.fill_(float("nan"))
    assert [(one.photo_HWC, one.reason) for one in loaded([task()])] == [(None, "nan")]
    assert loaded.roundtrip([task()])[0].reason == "nan"


def test_nothing_to_do_is_done(sd15_painter):
    assert sd15_painter([]) == []
    assert sd15_painter.roundtrip([]) == []


def test_a_lora_acts_and_one_that_does_nothing_is_refused(sd15, sd15_painter, tmp_path):
    acts = str(tiny.lora(tmp_path / "acts", sd15))
    with_lora = inpainter(sd15, lora=Lora(id=acts))([task()])[0].photo_HWC
    assert not np.array_equal(with_lora, sd15_painter([task()])[0].photo_HWC)
    zero = str(tiny.lora(tmp_path / "zero", sd15, scale=0.0))
    with pytest.raises(UserError, match="must change the picture"):
        inpainter(sd15, lora=Lora(id=zero))([task()])


@pytest.mark.parametrize("strength", [0.0, 0.2, 1.01])
def test_strengths_that_leave_no_step_are_refused(sd15_painter, strength):
    with pytest.raises(UserError, match="strength must be from 1/steps to 1"):
        sd15_painter([task(strength=strength)])


def test_models_that_cannot_inpaint_are_refused(tiny_models, tmp_path):
    with pytest.raises(UserError, match="or SDXL, got PixArt"):
        inpainter(tiny_models.pixart)
    unet = tiny.sd_unet(in_channels=8)
    eight = tiny.save_sd(tmp_path, diffusers.StableDiffusionPipeline, tiny.vae(), unet)
    with pytest.raises(UserError, match="4 or 9 channels, got 8"):
        inpainter(eight)
