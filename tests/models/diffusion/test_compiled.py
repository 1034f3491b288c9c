"""A compiled denoiser makes the same pictures, and a last, smaller batch makes no new code."""

import os
import shutil
from functools import partial

import diffusers
import numpy as np
import pytest
import torch

from raypipe.config.model import Memory, Model, Sampler
from raypipe.errors import UserError
from raypipe.models.diffusion import generator as diffusion
from raypipe.models.diffusion.generator import Generator
from raypipe.studies.consistency.plan import make_plan
from tests.support import tiny

SAMPLER = Sampler(scheduler="euler", steps=2, guidance=5.0, width=32, height=32)
PROMPTS, SEEDS = ["a red ball", "a blue box", "a red ball"], [3, 1, 4]
COMPILER = os.environ.get("CXX", "g++")


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A UNet of one level: what is compiled here is compiled in seconds."""
    path = tiny.sd15(tmp_path_factory.mktemp("small"))
    torch.manual_seed(0)
    diffusers.UNet2DConditionModel(
        sample_size=4,
        block_out_channels=(8,),
        down_block_types=("DownBlock2D",),
        up_block_types=("UpBlock2D",),
        layers_per_block=1,
        cross_attention_dim=tiny.WIDTH,
        attention_head_dim=2,
        norm_num_groups=4,
    ).save_pretrained(path / "unet")
    return str(path)


@pytest.mark.skipif(shutil.which(COMPILER) is None, reason=f"needs a C++ compiler, {COMPILER}")
@pytest.mark.parametrize("backend", ["eager", pytest.param("inductor", marks=pytest.mark.long)])
def test_pictures_are_the_same_and_a_partial_batch_compiles_nothing(small, monkeypatch, backend):
    """With the network traced alone, and with the code that is made of it."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=backend))
    plain = Generator(Model(name="m", id=small), SAMPLER, "cpu")(PROMPTS, SEEDS).images_BHWC
    compiled = Generator(Model(name="m", id=small, compile=True), SAMPLER, "cpu")
    made = compiled(PROMPTS, SEEDS).images_BHWC
    assert np.abs(made - plain).max() < 1e-4
    with torch.compiler.set_stance("fail_on_recompile"):
        last = compiled(PROMPTS[1:2], SEEDS[1:2])
    assert len(last.images_BHWC) == len(last.nsfw) == 1
    assert np.abs(last.images_BHWC[0] - made[1]).max() < 1e-4  # memory may lie otherwise aligned


def test_after_a_halving_a_batch_is_filled_to_what_fits(small, monkeypatch):
    monkeypatch.setattr(diffusion, "compile_denoiser", lambda *_: None)
    generator = Generator(
        Model(name="m", id=small, compile=True, memory=Memory(batch=2)), SAMPLER, "cpu"
    )
    rows = []
    generator._pipe.vae.decoder.register_forward_pre_hook(lambda _, args: rows.append(len(args[0])))
    assert len(generator(PROMPTS, SEEDS).images_BHWC) == 3
    assert rows == [2, 2]


def test_without_a_compiler_it_is_the_users_to_solve(small, monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    generator = Generator(Model(name="m", id=small, compile=True), SAMPLER, "cpu")
    with pytest.raises(UserError, match="no no-such-compiler"):
        generator(PROMPTS, SEEDS)


def test_it_takes_no_offload(small):
    with pytest.raises(ValueError, match=r"compile takes no memory.offload, got model"):
        Model(name="m", id=small, compile=True, memory=Memory(offload="model"))


def test_it_is_no_part_of_a_samples_id(study, small):
    def ids(**keys):
        config = study(models=[{"name": "m", "id": small, **keys}])
        return make_plan(config).samples()["sample_id"].to_pylist()

    assert ids(compile=True) == ids()
    assert "compile" not in Model(name="m", id=small).model_dump()
