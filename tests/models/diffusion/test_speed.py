"""The guard: a lost optimisation is noticed, by counts where they tell, else by wide ratios.

Bounds are far below what is measured (docs/performance.md), so that a busy machine passes. That a
prompt's text is encoded once is held by test_diffusion.py, that it is projected once a batch by
test_text_once.py, that outside a guidance interval the denoiser sees half the rows by
test_guidance_interval.py.
"""

import time

import diffusers
import numpy as np
import torch
from PIL import Image

from raypipe.config.model import Model, Sampler
from raypipe.config.networks import Encoder
from raypipe.core.consistency import semantic_consistency_score
from raypipe.engine.stage import Device
from raypipe.models.diffusion.generator import Generator
from raypipe.models.encoder import LoadedEncoder
from raypipe.studies.consistency import generate
from raypipe.weights.locate import miniature_path
from tests.benchmarks.bench_scs import paper_loop
from tests.benchmarks.ratios import one_thread

SAMPLER = Sampler(steps=4, guidance=7.5, width=64, height=64)
PROMPT = "a portrait of a woman"


def cpu_seconds(action, repetitions=2) -> float:
    """The least of a few; of the process, so that neighbours count for less."""
    taken = []
    for _ in range(repetitions):
        started = time.process_time()
        action()
        taken.append(time.process_time() - started)
    return min(taken)


def counted(network: torch.nn.Module) -> list[int]:
    """Rows of each forward from now on."""
    rows: list[int] = []
    network.register_forward_pre_hook(lambda _, args: rows.append(len(args[0])))
    return rows


def test_a_batch_is_faster_than_a_plain_loop():
    generator = Generator(Model(name="m", id="miniature/sdxl"), SAMPLER, "cpu")
    pipe = diffusers.DiffusionPipeline.from_pretrained(miniature_path("sdxl"))
    pipe.set_progress_bar_config(disable=True)

    def alone(seed: int):
        torch_generator = torch.Generator().manual_seed(seed)
        pipe(PROMPT, generator=torch_generator, num_inference_steps=4, guidance_scale=7.5)

    with one_thread():
        batch_s = cpu_seconds(lambda: generator([PROMPT] * 8, list(range(8)))) / 8
        loop_s = cpu_seconds(lambda: [alone(seed) for seed in range(4)]) / 4
    assert loop_s / batch_s > 1.2


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
        held.append(is_held(stage.device))
        return encode(pixels, storage)

    monkeypatch.setattr(generate, "encode", watched)
    stage(run.samples().slice(0, 2))
    assert held == [False, False]


def is_held(device: Device) -> bool:
    return device._lock.locked()


def test_scores_are_far_faster_than_the_papers_loop():
    rng = np.random.default_rng(0)
    e_PND = rng.normal(size=(40, 20, 128)).astype(np.float32)
    with one_thread():
        ours_s = cpu_seconds(lambda: [semantic_consistency_score(e_PND) for _ in range(20)]) / 20
        loop_s = cpu_seconds(lambda: paper_loop(torch.from_numpy(e_PND)), 1)
    assert loop_s / ours_s > 20
