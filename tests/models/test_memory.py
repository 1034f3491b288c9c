"""Out of memory: half the batch, the same seeds, the same pictures."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError

from raypipe.config.model import Memory, Model, Sampler
from raypipe.config.networks import Encoder
from raypipe.errors import UserError
from raypipe.models.diffusion.generator import Generator
from raypipe.models.diffusion.text import TextEncoder
from raypipe.models.encoder import LoadedEncoder
from raypipe.models.memory import Pieces, is_out_of_memory
from raypipe.weights.identity import model_identity

SAMPLER = Sampler(scheduler="euler", steps=2, guidance=5.0, width=32, height=32)
PROMPTS = ["a red ball", "a blue box", "a red ball", "a green cone", "a red ball"]
SEEDS = [3, 1, 4, 15, 9]


@pytest.fixture(scope="module")
def alone(model) -> np.ndarray:
    """The pictures, made one by one."""
    one = Generator(model, SAMPLER, "cpu")
    pairs = zip(PROMPTS, SEEDS, strict=True)
    return np.concatenate([one([prompt], [seed]).images_BHWC for prompt, seed in pairs])


def with_room_for(network: torch.nn.Module, most: int) -> list[int]:
    """Let a network hold `most` pictures at once; returns the sizes that it was asked for."""
    asked = []

    def refuse(module, inputs):
        asked.append(len(inputs[0]))
        if asked[-1] > most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    network.register_forward_pre_hook(refuse)
    return asked


@pytest.fixture(scope="module", params=["sdxl", "pixart"])
def model(request, tiny_models):
    return Model(name="m", id=str(getattr(tiny_models, request.param)))


@pytest.fixture
def pixart(tiny_models):
    """Where the family does not matter."""
    return Model(name="m", id=str(tiny_models.pixart))


def test_a_batch_that_does_not_fit_is_made_in_halves_with_the_same_seeds(model, alone):
    generator = Generator(model, SAMPLER, "cpu")
    asked = with_room_for(generator._pipe.vae.decoder, 2)
    made = generator(PROMPTS, SEEDS).images_BHWC
    assert asked == [5, 2, 2, 1]
    assert np.abs(made - alone).max() < 1e-4


def test_the_size_that_fits_is_remembered(pixart):
    generator = Generator(pixart, SAMPLER, "cpu")
    asked = with_room_for(generator._pipe.vae.decoder, 2)
    generator(PROMPTS[:4], SEEDS[:4])
    generator(PROMPTS[:4], SEEDS[:4])
    assert asked == [4, 2, 2, 2, 2]


def test_text_that_is_encoded_apart_is_halved_too(model, alone):
    encoder = TextEncoder(model, SAMPLER, "cpu")
    generator = Generator(model, SAMPLER, "cpu", encodes_text=False)
    with_room_for(generator._pipe.vae.decoder, 2)
    made = generator(PROMPTS, SEEDS, texts=[encoder.encode(p) for p in PROMPTS]).images_BHWC
    assert np.abs(made - alone).max() < 1e-4


def test_one_picture_that_does_not_fit_is_the_users_to_solve(pixart):
    generator = Generator(pixart, SAMPLER, "cpu")
    with_room_for(generator._pipe.vae.decoder, 0)
    told = "model m at 32×32 in float32 does not fit cpu: try memory.vae_tiling=true"
    with pytest.raises(UserError, match=told):
        generator(PROMPTS, SEEDS)


def test_a_batch_can_be_set_smaller_than_planned(pixart):
    generator = Generator(pixart.model_copy(update={"memory": Memory(batch=3)}), SAMPLER, "cpu")
    asked = with_room_for(generator._pipe.vae.decoder, 5)
    generator(PROMPTS, SEEDS)
    assert asked == [3, 2]


def test_auto_finds_the_size_with_a_single_step(model, alone):
    generator = Generator(model.model_copy(update={"memory": Memory(batch="auto")}), SAMPLER, "cpu")
    steps = []
    denoiser = getattr(generator._pipe, "unet", None) or generator._pipe.transformer
    denoiser.register_forward_pre_hook(lambda *_: steps.append(1))
    asked = with_room_for(generator._pipe.vae.decoder, 2)
    made = generator(PROMPTS, SEEDS).images_BHWC
    assert asked == [5, 2, 2, 1, 2, 2, 1]
    assert len(steps) == 4 * 1 + 3 * SAMPLER.steps
    assert np.abs(made - alone).max() < 1e-4
    generator(PROMPTS, SEEDS)
    assert asked[7:] == [2, 2, 1]


def test_pictures_are_embedded_in_halves(tiny_models):
    encoder = LoadedEncoder(Encoder(id=str(tiny_models.encoder)), "cpu")
    noise = np.random.default_rng(0).integers(0, 255, (5, 32, 32, 3), dtype=np.uint8)
    pixels = [encoder.preprocess(Image.fromarray(one)) for one in noise]
    whole, asked = encoder.images(pixels), with_room_for(encoder._model.visual, 2)
    assert np.abs(encoder.images(pixels) - whole).max() < 1e-6
    assert asked == [5, 2, 2, 1]
    with_room_for(encoder._model.visual, 0)
    with pytest.raises(UserError, match=r"encoder .* does not fit cpu: give its pool"):
        encoder.images(pixels)


def test_other_errors_are_not_taken_for_a_full_memory():
    def forward(piece):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="mat1"):
        Pieces("what")(4, forward)


def test_what_onednn_says_of_a_full_memory_is_tried_with_fewer_and_no_more_than_that():
    def forward(piece):
        if piece.stop - piece.start > most:
            raise RuntimeError("could not create a primitive")
        return list(range(8))[piece]

    most = 2
    assert [item for piece in Pieces("what")(8, forward) for item in piece] == list(range(8))
    most = 0
    with pytest.raises(RuntimeError, match="could not create a primitive"):
        Pieces("what")(8, forward)


def test_a_real_allocation_that_fails_is_known():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 60, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)


LIMITED = """
import resource, sys
import numpy as np
import torch
from raypipe.models.diffusion.generator import Generator
from raypipe.config.model import Model, Sampler

torch.set_num_threads(1)
size = 256
sampler = Sampler(scheduler="euler", steps=1, guidance=1.0, width=size, height=size)
generator = Generator(Model(name="m", id=sys.argv[1]), sampler, "cpu")
prompts, seeds = ["a red ball"] * 16, list(range(16))
alone = np.concatenate([generator(prompts[:1], [seed]).images_BHWC for seed in seeds[:2]])
used = 1024 * int(next(l for l in open("/proc/self/status") if l.startswith("VmSize")).split()[1])
resource.setrlimit(resource.RLIMIT_AS, (used + (96 << 20), resource.RLIM_INFINITY))
made = generator(prompts, seeds).images_BHWC
resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY,) * 2)
assert generator._pieces.size in (1, 2, 4, 8), generator._pieces.size
assert np.abs(made[:2] - alone).max() < 1e-4
print("pieces of", generator._pieces.size)
"""


def test_a_process_whose_memory_is_really_full_goes_on(tiny_models):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MALLOC_")}
    command = [sys.executable, "-c", LIMITED, str(tiny_models.sd15)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "out of memory with 16 at once" in done.stderr
    assert done.stdout.startswith("pieces of ")


def test_slicing_changes_no_picture_and_tiling_is_another_sample(tiny_models):
    def model(**memory):
        return Model(name="m", id=str(tiny_models.sdxl), memory=memory)

    def made(model):
        sampler = SAMPLER.model_copy(update={"width": 128, "height": 128})
        return Generator(model, sampler, "cpu")(PROMPTS[:2], SEEDS[:2]).images_BHWC

    plain = made(model())
    assert np.abs(made(model(vae_slicing=True)) - plain).max() < 1e-4
    assert np.abs(made(model(vae_tiling=True)) - plain).max() > 1e-3
    same = [model(), model(vae_slicing=True), model(batch=2), model(offload="model")]
    assert all(model_identity(one) == model_identity(model()) for one in same)
    assert model_identity(model(vae_tiling=True)) != model_identity(model())


def test_offload_needs_a_gpu(study, tiny_models):
    models = [{"name": "m", "id": str(tiny_models.sdxl), "memory": {"offload": "model"}}]
    with pytest.raises(ValidationError, match=r"memory.offload needs a GPU .* got none for m"):
        study(models=models)
    study(models=models, pools={"generate": {"gpus_per_actor": 1}})


@pytest.mark.parametrize("batch", [0, -1, "all", 1.5])
def test_a_batch_is_a_count_or_auto(batch):
    with pytest.raises(ValidationError):
        Memory(batch=batch)
