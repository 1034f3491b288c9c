"""Checkpoints in one file give the pictures of the same weights in folders."""

import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file, save_file

from raypipe.config.model import Model, Sampler
from raypipe.errors import UserError
from raypipe.models.diffusion.generator import Generator
from raypipe.models.diffusion.loading import load_pipeline
from raypipe.models.diffusion.text import TextEncoder
from raypipe.weights.identity import model_identity
from tests.support.single_file import single_file

SAMPLER = Sampler(scheduler="euler", steps=2, guidance=5.0, width=32, height=32)


@pytest.fixture(scope="module", params=["sd15", "sdxl"])
def both(request, tiny_models, tmp_path_factory):
    """A pipeline's directory, the same as one file, and a directory without any weights."""
    directory = getattr(tiny_models, request.param)
    root = tmp_path_factory.mktemp("single")
    configs = shutil.copytree(
        directory, root / "configs", ignore=shutil.ignore_patterns("*.safetensors")
    )
    return directory, single_file(request.param, directory, root / "m.safetensors"), configs


def picture(generator, **more):
    """A picture, made with weights that lie in memory as they do on a GPU: each aligned.

    Weights mapped from a file lie as the file has them, and a CPU's matrix product rounds
    differently by where a matrix begins.
    """
    for part in generator._pipe.components.values():
        if isinstance(part, torch.nn.Module):
            for weight in part.parameters():
                weight.data = weight.data.clone()
    return generator(["a red ball"], [1], **more).images_BHWC


def test_pictures_equal_those_of_folders_to_the_last_bit(both):
    directory, file, configs = both
    folders = Model(name="m", id=str(directory))
    single = Model(name="m", id=str(file), config=str(configs))
    expected = picture(Generator(folders, SAMPLER, "cpu"))
    assert np.array_equal(picture(Generator(single, SAMPLER, "cpu")), expected)
    apart = Generator(single, SAMPLER, "cpu", encodes_text=False)
    text = TextEncoder(single, SAMPLER, "cpu").encode("a red ball")
    assert np.abs(picture(apart, texts=[text]) - expected).max() < 1e-5


def test_every_tensor_is_read(both):
    """diffusers leaves out what it does not find a place for, without a word."""
    directory, file, configs = both
    folders = load_pipeline(Model(name="m", id=str(directory)), SAMPLER)
    single = load_pipeline(Model(name="m", id=str(file), config=str(configs)), SAMPLER)
    for name in ("unet", "vae", "text_encoder", "text_encoder_2"):
        part = getattr(folders, name, None)
        if part is not None:
            expected, read = part.state_dict(), getattr(single, name).state_dict()
            assert expected.keys() == read.keys()
            assert all(np.array_equal(read[key], expected[key]) for key in expected)


def test_a_file_with_missing_layers_is_refused(both, tmp_path):
    _, file, configs = both
    tensors = load_file(file)
    lacking = tmp_path / "m.safetensors"
    for layer in ("model.diffusion_model.out.2.weight", "first_stage_model.quant_conv.weight"):
        save_file({key: value for key, value in tensors.items() if key != layer}, lacking)
        with pytest.raises(UserError, match=r"model m cannot be loaded: .*m\.safetensors"):
            load_pipeline(Model(name="m", id=str(lacking), config=str(configs)), SAMPLER)


def identity(file, config):
    return model_identity(Model(name="m", id=str(file), config=str(config)))


def test_what_it_is_depends_on_the_file_and_the_configs_alone(both, tmp_path):
    directory, file, configs = both
    assert identity(file, configs) == identity(file, directory)
    changed = shutil.copytree(configs, tmp_path / "configs")
    scheduler = changed / "scheduler" / "scheduler_config.json"
    scheduler.write_text(scheduler.read_text() + " ")
    assert identity(file, changed) != identity(file, configs)
    tensors = load_file(file)
    tensors["model.diffusion_model.out.2.bias"] += 1
    save_file(tensors, tmp_path / "other.safetensors")
    assert identity(tmp_path / "other.safetensors", configs) != identity(file, configs)


def test_a_file_of_another_family_is_refused_before_it_is_loaded(tiny_models, tmp_path):
    file = single_file("sdxl", tiny_models.sdxl, tmp_path / "m.safetensors")
    with pytest.raises(UserError, match=r"has text of width 16, m.safetensors of 48 \(model m\)"):
        identity(file, tiny_models.sd15)
    vae = tiny_models.sd15 / "vae" / "diffusion_pytorch_model.safetensors"
    with pytest.raises(UserError, match="must hold a whole pipeline"):
        identity(vae, tiny_models.sd15)


def test_a_file_or_config_that_is_not_there_is_refused(tiny_models, tmp_path):
    with pytest.raises(UserError, match=r"file not found: /.*absent\.safetensors"):
        identity(tmp_path / "absent.safetensors", tiny_models.sd15)
    with pytest.raises(UserError, match="must be a directory that holds model_index"):
        identity(tmp_path / "absent.safetensors", tmp_path)
    with pytest.raises(UserError, match="must exist, or be org/name/FILE on the hub, got m"):
        identity("m.safetensors", tiny_models.sd15)


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"id": "m.safetensors"}, "needs config"),
        ({"id": "org/name", "config": "x"}, "config belongs to a single file"),
        ({"id": "m.safetensors", "config": "x", "variant": "fp16"}, "has no variant"),
    ],
)
def test_keys_that_contradict_each_other_are_refused(keys, told):
    with pytest.raises(ValidationError, match=told):
        Model(name="m", **keys)


def test_a_file_of_a_hub_repository_is_named_by_its_commit(tiny_models, tmp_path):
    """As in a cache of the hub, without a network."""
    commit = "b" * 40
    cache = tmp_path / "hub" / "models--org--name"
    (cache / "refs").mkdir(parents=True)
    (cache / "refs" / "main").write_text(commit)
    (cache / "snapshots" / commit).mkdir(parents=True)
    script = (
        "import sys\nfrom raypipe.config.model import Model\n"
        "from raypipe.weights.identity import model_identity\n"
        "m = Model(name='m', id='org/name/a/b.safetensors', config=sys.argv[1])\n"
        "print(model_identity(m)['weights'])"
    )
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    command = [sys.executable, "-c", script, str(tiny_models.sd15)]
    told = subprocess.check_output(command, env=environment, text=True)
    assert told.strip() == f"org/name@{commit}/a/b.safetensors"
