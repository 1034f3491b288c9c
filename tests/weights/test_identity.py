"""Weights are named by their content, and what does not fit is refused by file headers alone."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import save_file

from raypipe.config.model import Lora, Model
from raypipe.config.networks import Encoder
from raypipe.errors import UserError
from raypipe.weights.headers import safetensors_shapes
from raypipe.weights.identity import encoder_identity, model_identity
from raypipe.weights.locate import fingerprint, locate, lora_file
from tests.support.mistakes import mistake


@pytest.fixture
def copy(tiny_models, tmp_path):
    """A copy of a tiny model that may be changed; each has a path of its own, as users' do."""
    return lambda name: shutil.copytree(getattr(tiny_models, name), tmp_path / name)


def identity(where, **more):
    return model_identity(Model(name="m", id=str(where), **more))


def test_the_same_files_elsewhere_are_the_same_weights(tiny_models, copy):
    moved = copy("sdxl")
    (moved / "README.md").write_text("what decides no picture")
    assert identity(moved) == identity(tiny_models.sdxl)


@pytest.mark.parametrize(
    "file",
    [
        "unet/diffusion_pytorch_model.safetensors",
        "vae/diffusion_pytorch_model.safetensors",
        "text_encoder_2/model.safetensors",
        "scheduler/scheduler_config.json",
        "tokenizer/tokenizer.json",
        "model_index.json",
    ],
)
def test_one_changed_byte_makes_other_weights(tiny_models, copy, file):
    path = copy("sdxl") / file
    data = bytearray(path.read_bytes())
    if path.suffix == ".json":
        data = bytearray(data.replace(b": ", b":\t", 1))  # JSON all the same
    else:
        data[-2] ^= 1
    path.write_bytes(data)
    assert identity(path.parents[file.count("/")]) != identity(tiny_models.sdxl)


def test_which_file_holds_what_matters(tmp_path):
    for names in ("ab", "ba", "ac"):
        (tmp_path / names).mkdir()
        for name, content in zip(names, "12", strict=True):
            (tmp_path / names / f"{name}.bin").write_text(content)
    made = {fingerprint(str(tmp_path / names), None, "model") for names in ("ab", "ba", "ac")}
    assert len(made) == 3


def test_what_decides_a_picture_is_in_the_identity(tiny_models, copy):
    plain = identity(tiny_models.sdxl)
    half = copy("sdxl")
    for file in half.rglob("*.safetensors"):
        shutil.copy(file, file.with_suffix(".fp16.safetensors"))
    lora = {"id": str(tiny_models.lora)}
    others = [
        identity(tiny_models.pixart),
        identity(tiny_models.sdxl, dtype="float16"),
        identity(half, variant="fp16"),
        identity(tiny_models.sdxl, vae=str(tiny_models.sdxl / "vae")),
        identity(tiny_models.sdxl, options={"clip_skip": 1}),
        identity(tiny_models.sdxl, lora=lora),
        identity(tiny_models.sdxl, lora={**lora, "scale": 0.5}),
    ]
    assert all(others.count(one) == 1 and one != plain for one in others)


def test_a_model_that_is_no_pipeline_is_refused(tiny_models, tmp_path):
    for where in (tiny_models.encoder, tmp_path, tmp_path / "absent"):
        told = f"a model directory must hold model_index.json, got {where} (m)"
        assert mistake(identity, where) == told
    told = mistake(identity, tiny_models.sdxl / "model_index.json")
    assert "a model directory must hold model_index.json" in told


def test_a_vae_must_be_there(tiny_models, tmp_path):
    model = Model(name="m", id=str(tiny_models.sdxl), vae=str(tmp_path / "absent"))
    told = f"VAE of model m must be a directory, got {tmp_path}/absent"
    assert mistake(model_identity, model) == told


def test_names_of_the_miniature_world_are_directories_of_the_package():
    assert locate("miniature/sdxl").endswith("raypipe/miniature/weights/sdxl")
    told = mistake(locate, "miniature/nothing")
    assert told.startswith("miniature models are sdxl, ")
    assert told.endswith("got 'nothing'")
    assert locate("org/name") == "org/name"


def test_a_tilde_is_the_home_directory(tiny_models, monkeypatch):
    monkeypatch.setenv("HOME", str(tiny_models.sdxl.parent))
    assert identity("~/sdxl") == identity(tiny_models.sdxl)


def test_a_lora_for_another_architecture_is_refused(tiny_models):
    lora = {"id": str(tiny_models.lora)}
    identity(tiny_models.sdxl, lora=lora)
    told = mistake(lambda: identity(tiny_models.pixart, lora=lora))
    assert told.startswith("a LoRA must fit its model: pytorch_lora_weights.safetensors changes ")
    assert told.endswith("no such module in model m")
    told = mistake(lambda: identity(tiny_models.sd15, lora=lora))  # has narrower text
    assert "attn2.to_v (48 inputs), which takes 16 inputs in model m" in told


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({}, "no weights found for LoRA of model m"),
        ({"a.safetensors": b"x", "b.safetensors": b"x"}, "or weight_name must choose: "),
        ({"a.bin": b"x"}, "a LoRA directory must hold one .safetensors file"),
        ({"a.safetensors": b"version https://git-lfs.github.com/spec/v1\n"}, "was expected, got"),
    ],
)
def test_a_lora_directory_must_hold_one_lora(tiny_models, tmp_path, files, told):
    where = tmp_path / "lora"
    where.mkdir()
    for name, data in files.items():
        (where / name).write_bytes(data)
    assert told in mistake(lambda: identity(tiny_models.sdxl, lora={"id": str(where)}))


def test_a_lora_may_be_chosen_by_name(tiny_models, tmp_path):
    where = shutil.copytree(tiny_models.lora, tmp_path / "lora")
    save_file({"x": np.zeros(2, np.float32)}, where / "other.safetensors")
    good = Lora(id=str(where), weight_name="pytorch_lora_weights.safetensors")
    assert lora_file(good) == where / "pytorch_lora_weights.safetensors"
    identity(tiny_models.sdxl, lora=good)
    told = mistake(
        lambda: identity(tiny_models.sdxl, lora={**good.model_dump(), "weight_name": "n"})
    )
    assert told == f"file not found: {where}/n"
    other = {"id": str(where), "weight_name": "other.safetensors"}
    told = mistake(lambda: identity(tiny_models.sdxl, lora=other))
    assert told == f"the file holds no LoRA weights: {where}/other.safetensors (model m)"


def test_a_lora_that_uses_the_original_names_is_left_to_the_first_actor(tiny_models, tmp_path):
    path = tmp_path / "kohya.safetensors"
    layer = "lora_unet_input_blocks_4_1_proj_in"
    save_file({f"{layer}.lora_down.weight": np.zeros((2, 2), np.float32)}, path)
    assert identity(tiny_models.sdxl, lora={"id": str(path)})["lora"]["weights"]


def test_an_encoder_must_exist(tiny_models):
    known = encoder_identity(Encoder(id=str(tiny_models.encoder)))
    assert known["weights"].startswith("sha256:")
    told = mistake(encoder_identity, Encoder(id=str(tiny_models.sdxl)))
    assert told.startswith("an encoder directory must hold open_clip_config.json: ")
    told = mistake(encoder_identity, Encoder(id=str(tiny_models.sdxl), library="timm"))
    assert told.startswith("an encoder directory must hold config.json: ")
    told = mistake(encoder_identity, Encoder(id="ViT-B-33"))
    assert told == "open_clip has no model ViT-B-33; did you mean ViT-B-32?"
    told = mistake(encoder_identity, Encoder(pretrained="opeani"))
    assert told.startswith("open_clip has no weights opeani of ViT-B-32; it has openai, ")
    told = mistake(encoder_identity, Encoder(library="timm", id="vit_smal_patch14_dinov2"))
    assert told.startswith("timm has no model vit_smal_patch14_dinov2; did you mean vit_small_")


def test_headers_say_what_the_library_says(tiny_models):
    path = tiny_models.sdxl / "unet" / "diffusion_pytorch_model.safetensors"
    with safe_open(path, "np") as file:
        assert safetensors_shapes(path) == {k: file.get_tensor(k).shape for k in file.keys()}  # noqa: SIM118


@given(
    st.binary(max_size=40)
    | st.recursive(st.none() | st.integers() | st.text(), lambda x: st.dictionaries(st.text(), x))
)
def test_any_bytes_are_a_safetensors_file_or_the_users_mistake(tmp_path_factory, content):
    if not isinstance(content, bytes):
        header = json.dumps(content).encode()
        content = len(header).to_bytes(8, "little") + header
    path = tmp_path_factory.mktemp("files") / "x.safetensors"
    path.write_bytes(content)
    try:
        shapes = safetensors_shapes(path)
    except UserError:
        return
    assert all(isinstance(shape, tuple) for shape in shapes.values())


def hub(code: str, home) -> str:
    """What a fresh process prints that reaches no hub, with its cache in `home`."""
    prefix = (
        "from raypipe.config.model import Model\nfrom raypipe.errors import UserError\n"
        "from raypipe.weights.identity import model_identity\n"
        "try:\n  print(model_identity({}))\nexcept UserError as error:\n  print(error)"
    )
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(home)}
    script = prefix.format(code)
    command = [sys.executable, "-c", script]
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, check=True
    ).stdout


def test_a_model_that_is_neither_here_nor_on_the_hub_is_refused(tmp_path):
    told = hub("Model(name='m', id='org/name')", tmp_path)
    assert "model m is not a directory, not in the local cache, and the hub does not answer" in told
    told = hub("Model(name='m', id='no/hub/id/at all')", tmp_path)
    assert told.strip() == "model m is neither a directory nor a hub id: no/hub/id/at all"


def test_a_cached_model_works_without_a_network(tmp_path):
    commit = "a" * 40
    cache = tmp_path / "hub" / "models--org--name"
    (cache / "refs").mkdir(parents=True)
    (cache / "refs" / "main").write_text(commit)
    (cache / "snapshots" / commit).mkdir(parents=True)
    (cache / "snapshots" / commit / "model_index.json").write_text("{}")
    assert f"'weights': 'org/name@{commit}'" in hub("Model(name='m', id='org/name')", tmp_path)
