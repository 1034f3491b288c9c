"""The guard: a lost optimisation is noticed by counts; `make bench` has the times.

That a prompt's text is encoded once is held by test_generator.py, that it is projected once a batch
by test_text_once.py, that outside a guidance interval the denoiser sees half the rows by
test_guidance_interval.py.
"""

import torch
from PIL import Image

from raypipe.config.model import Model, Sampler
from raypipe.config.networks import Encoder
from raypipe.models.diffusion.generator import Generator
from raypipe.models.encoder import LoadedEncoder
from raypipe.studies.consistency import generate

PROMPT = "a portrait of a woman"


def counted(network: torch.nn.Module) -> list[int]:
    """Rows of each forward from now on."""
    rows: list[int] = []
    network.register_forward_pre_hook(lambda _, args: rows.append(len(args[0])))
    return rows


def test_both_halves_of_guidance_and_all_pictures_go_through_the_denoiser_at_once(tiny_models):
    sampler = Sampler(steps=3, guidance=5.0, width=32, height=32)
    generator = Generator(Model(name="m", id=str(tiny_models.sdxl)), sampler, "cpu")
    denoised, decoded = counted(generator._pipe.unet.conv_in), counted(generator._pipe.vae.decoder)
    generator([PROMPT, PROMPT, "a red ball"], [0, 1, 0])
    assert denoised == [6, 6, 6]
    assert decoded == [3]


def test_pictures_are_embedded_in_one_forward(tiny_models):
    encoder = LoadedEncoder(Encoder(id=str(tiny_models.encoder)), "cpu")
    rows = counted(encoder._model.visual.conv1)
    encoder.images([encoder.preprocess(Image.new("RGB", (32, 32), (i, 0, 0))) for i in range(5)])
    assert rows == [5]


def test_pictures_are_encoded_while_the_device_is_free(study, begun, monkeypatch):
    config = study()
    run = begun(config)
    stage = generate.Generate(config, run.uri, frozenset())
    encode, held = generate.encode, []

    def watched(pixels, storage):
        held.append(stage.device._lock.locked())
        return encode(pixels, storage)

    monkeypatch.setattr(generate, "encode", watched)
    stage(run.samples().slice(0, 2))
    assert held == [False, False]
