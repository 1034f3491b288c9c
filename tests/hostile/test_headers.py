"""What headers and configs of weights tell is found out before an actor loads anything."""

import json
import shutil
import struct
from pathlib import Path

import pytest

from raypipe.weights.locate import miniature_path
from tests.hostile.test_configs import check

UNET = "unet/diffusion_pytorch_model.safetensors"
TRANSFORMER = "transformer/diffusion_pytorch_model.safetensors"
CLIP = "open_clip_model.safetensors"
LORA = "pytorch_lora_weights.safetensors"


def cut(path: Path, change: str) -> None:
    """Half of the file."""
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def longer(path: Path, change: str) -> None:
    """More than the header asks for."""
    path.write_bytes(path.read_bytes() + b"more")


def empty(path: Path, change: str) -> None:
    path.write_bytes(b"")


def gone(path: Path, change: str) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def text(path: Path, change: str) -> None:
    """Other content."""
    path.write_text(change)


def keys(path: Path, change: str) -> None:
    """Some keys of a JSON file with other values."""
    path.write_text(json.dumps({**json.loads(path.read_text()), **json.loads(change)}))


def header(path: Path, change: str) -> None:
    """A safetensors file whose tensors have other names: `old=new`, or those with `old` gone."""
    old, _, new = change.partition("=")
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    tensors = json.loads(data[8 : 8 + length])
    named = {
        name.replace(old, new) if new else name: tensor
        for name, tensor in tensors.items()
        if new or old not in name
    }
    # what is left out leaves a hole, which only the last may not
    ends = max(t["data_offsets"][1] for n, t in named.items() if n != "__metadata__")
    written = json.dumps(named).encode()
    path.write_bytes(struct.pack("<Q", len(written)) + written + data[8 + length :][:ends])


def first_shape(path: Path, change: str) -> None:
    """A safetensors file whose first tensor with this name's end is transposed in its header."""
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    tensors = json.loads(data[8 : 8 + length])
    name = next(name for name in tensors if name.endswith(change))
    tensors[name]["shape"].reverse()
    written = json.dumps(tensors).encode()
    path.write_bytes(struct.pack("<Q", len(written)) + written + data[8 + length :])


MODEL = ("consistency", "models=[{name: m, id: {copy}}]")
PAIRS = ("face_pairs", "model={name: m, id: {copy}}")
FACE_LORA = ("face_lora", "model={name: m, id: {copy}}")
VAE = ("consistency", "models=[{name: m, id: miniature/sd15, vae: {copy}/vae}]")
WITH_LORA = (
    "consistency",
    "models=[{name: m, id: miniature/sdxl, lora: {id: {copy}}}]",
)
ENCODER = ("consistency", "encoder.id={copy}")
OF_METRIC = ("evaluate", "metrics.1.encoder.id={copy}")
REWARD = ("evaluate", "metrics.2.id={copy}")
START = ("face_score", "start.id={copy}")
ABLATION = ("face_ablation", "general.metrics.0={metric: image_reward, id: {copy}}")
HPS = ("evaluate", "metrics.2={metric: hps, weights: {id: {copy}/model.safetensors}}")
PICK = ("evaluate", "metrics.2={metric: pickscore, weights: {id: {copy}}, processor: {id: {copy}}}")

CASES = [
    # a pipeline
    *(
        (kind, "sd15", file, harm, change, words)
        for kind in (MODEL, PAIRS, FACE_LORA)
        for file, harm, change, words in (
            ("unet", gone, "", ("unet",)),
            ("vae", gone, "", ("vae",)),
            ("text_encoder/model.safetensors", gone, "", ("text_encoder",)),
            ("scheduler", gone, "", ("scheduler",)),
            ("tokenizer/tokenizer_config.json", gone, "", ("tokenizer_config.json",)),
            ("model_index.json", text, "{", ("model_index.json",)),
            ("model_index.json", text, "[1]", ("model_index.json",)),
            ("model_index.json", text, "{}", ("model_index.json",)),
            ("model_index.json", text, "[" * 100_000, ("model_index.json",)),
            ("unet/config.json", text, "{", ("config.json",)),
            ("unet/config.json", keys, '{"block_out_channels": [32, 64]}', ("channels",)),
            (
                "unet/config.json",
                keys,
                '{"cross_attention_dim": 32}',
                ("cross_attention_dim", "32"),
            ),
            (UNET, cut, "", ("whole", "safetensors")),
            (UNET, longer, "", ("whole",)),
            (UNET, empty, "", ("safetensors",)),
            (UNET, text, "version https://git-lfs", ("safetensors",)),
        )
    ),
    (MODEL, "sd15", "vae/config.json", keys, '{"latent_channels": 16}', ("latent_channels", "16")),
    (MODEL, "sd15", "text_encoder/config.json", keys, '{"hidden_size": 32}', ("hidden_size",)),
    (MODEL, "sd15", "text_encoder/config.json", keys, '{"num_hidden_layers": 9}', ("layers", "9")),
    (MODEL, "sd15", UNET, header, "down_blocks.0=down_blocks.7x", ("block_out_channels",)),
    (MODEL, "pixart", TRANSFORMER, cut, "", ("whole",)),
    (MODEL, "pixart", TRANSFORMER, header, "transformer_blocks.5", ("num_layers",)),
    (MODEL, "pixart", "text_encoder/config.json", keys, '{"d_model": 32}', ("d_model",)),
    (MODEL, "pixart", "scheduler/scheduler_config.json", text, "", ("scheduler_config",)),
    (MODEL, "sdxl", "text_encoder_2/model.safetensors", empty, "", ("safetensors",)),
    (MODEL, "sdxl", "tokenizer/tokenizer.json", text, "{", ("tokenizer.json",)),
    (MODEL, "sdxl", "text_encoder_2", gone, "", ("text_encoder_2",)),
    (VAE, "sd15", "vae/config.json", gone, "", ("VAE", "config.json")),
    (VAE, "sd15", "vae/diffusion_pytorch_model.safetensors", cut, "", ("whole",)),
    (VAE, "sd15", "vae/diffusion_pytorch_model.safetensors", gone, "", ("VAE", "weights")),
    (VAE, "sd15", "vae/config.json", keys, '{"latent_channels": 8}', ("latent_channels",)),
    # a LoRA
    (WITH_LORA, "lora", LORA, cut, "", ("whole",)),
    (WITH_LORA, "lora", LORA, empty, "", ("safetensors",)),
    (WITH_LORA, "lora", LORA, gone, "", ("LoRA",)),
    (WITH_LORA, "lora", LORA, header, "lora_B", ("second matrix",)),
    (WITH_LORA, "lora", LORA, header, "lora_A", ("keys without a layer",)),
    (WITH_LORA, "lora", LORA, header, "lora_A=lola_A", ("keys",)),
    (WITH_LORA, "lora", LORA, header, "to_k=to_z", ("no such module", "to_z")),
    (WITH_LORA, "lora", LORA, first_shape, "lora_A.weight", ("inputs",)),
    (WITH_LORA, "lora", LORA, first_shape, "lora_B.weight", ("outputs",)),
    # encoders, of a run and of a metric
    *(
        (kind, "clip", file, harm, change, words)
        for kind in (ENCODER, OF_METRIC)
        for file, harm, change, words in (
            (CLIP, cut, "", ("whole",)),
            (CLIP, gone, "", ("weights",)),
            (CLIP, empty, "", ("safetensors",)),
            ("open_clip_config.json", gone, "", ("open_clip_config.json",)),
            ("open_clip_config.json", text, "{", ("open_clip_config.json",)),
            ("open_clip_config.json", text, "{}", ("model_cfg",)),
        )
    ),
    # rewards: of a metric, and where a training starts from
    *(
        (kind, "reward", file, harm, change, words)
        for kind in (REWARD, START, ABLATION)
        for file, harm, change, words in (
            ("model.safetensors", cut, "", ("whole",)),
            ("model.safetensors", gone, "", ("model.safetensors",)),
            ("config.json", gone, "", ("config.json",)),
            ("config.json", text, "[", ("config.json",)),
            ("config.json", keys, '{"kind": "dog"}', ("kind", "dog")),
            ("config.json", keys, '{"image_size": 32}', ("image_size", "32")),
            ("config.json", keys, '{"heads": [5, 7]}', ("heads", "5")),
            ("config.json", keys, '{"max_length": 500}', ("max_length", "500")),
            ("model.safetensors", header, "mlp.layers.0", ("missing", "mlp.layers.0")),
            ("model.safetensors", header, "mlp.layers.0=mlp.layers.9", ("foreign",)),
        )
    ),
    (REWARD, "reward", "config.json", keys, '{"kind": "face_score"}', ("kind", "face_score")),
    (HPS, "reward", "model.safetensors", cut, "", ("whole", "model.safetensors")),
    (HPS, "reward", "model.safetensors", gone, "", ("hps", "not found")),
    (PICK, "reward", "config.json", gone, "", ("config.json", "pickscore")),
    (PICK, "reward", "tokenizer.json", gone, "", ("preprocessor_config.json",)),
]


@pytest.mark.parametrize(
    "case", CASES, ids=lambda c: f"{c[0][0]}-{c[2]}-{c[3].__name__}-{c[4][:24]}"
)
def test_weights_that_cannot_be_loaded_are_told_before_an_actor_starts(attempt, tmp_path, case):
    (job, argument), name, file, harm, change, words = case
    copy = shutil.copytree(miniature_path(name), tmp_path / "copy")
    harm(copy / file, change)
    check(attempt(job, argument.replace("{copy}", str(copy))), words)


@pytest.mark.parametrize(
    ("job", "argument", "name"),
    [
        (*MODEL, "sd15"), (*PAIRS, "sd15"), (*FACE_LORA, "sd15"), (*MODEL, "pixart"),
        (*MODEL, "sdxl"), (*VAE, "sd15"), (*WITH_LORA, "lora"), (*ENCODER, "clip"),
        (*OF_METRIC, "clip"), (*REWARD, "reward"), (*START, "reward"), (*ABLATION, "reward"),
    ],
)  # fmt: skip
def test_the_same_files_unharmed_pass(plan, tmp_path, job, argument, name):
    copy = shutil.copytree(miniature_path(name), tmp_path / "copy")
    done = plan(job, argument.replace("{copy}", str(copy)))
    assert done.returncode == 0, done.stderr
