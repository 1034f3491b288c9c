"""A LoRA in any layout means W + scale · alpha / rank · up @ down, and nothing of it is lost."""

import json
from functools import cache, partial

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from raypipe.config.model import Lora, Model, Sampler
from raypipe.errors import UserError
from raypipe.models.diffusion.generator import Generator
from raypipe.models.diffusion.text import TextEncoder
from raypipe.models.lora.ldm_names import unet_name
from raypipe.weights.identity import model_identity
from tests.support import plain, tiny
from tests.support.lora_files import Matrices, matrices, merged, with_text_model, write
from tests.support.mistakes import mistake

SAMPLER = Sampler(scheduler="euler", steps=2, guidance=5.0, width=32, height=32)
LAYERS = {
    "sd15": (
        "transformer_blocks.0.attn1.to_q",
        "transformer_blocks.0.attn2.to_out.0",
        "mid_block.attentions.0.proj_in",
        "mid_block.resnets.0.conv1",
        "up_blocks.1.upsamplers.0.conv",
        "up_blocks.0.upsamplers.0.conv",
        "layers.3.self_attn.q_proj",
        "layers.3.mlp.fc1",
    ),
    "sdxl": (
        "down_blocks.1.attentions.0.transformer_blocks.1.attn2.to_k",
        "down_blocks.2.attentions.1.transformer_blocks.9.ff.net.2",
        "up_blocks.0.attentions.2.transformer_blocks.0.attn1.to_out.0",
        "up_blocks.0.attentions.0.proj_in",
        "down_blocks.1.resnets.0.time_emb_proj",
        "add_embedding.linear_1",
        "layers.3.self_attn.out_proj",
        "layers.30.mlp.fc2",
    ),
    "pixart": ("27.attn1.to_q", "0.attn2.to_out.0", "caption_projection.linear_1"),
}


def picture(model) -> np.ndarray:
    return Generator(model, SAMPLER, "cpu")(["a red ball"], [1]).images_BHWC[0]


@cache
def unchanged(directory) -> np.ndarray:
    """The picture without a LoRA."""
    return picture(Model(name="m", id=str(directory)))


def check(directory, file, layers: Matrices, scale=0.7):
    """The LoRA in the file draws what the merged weights draw, and not what those without do."""
    model = Model(name="m", id=str(directory), lora=Lora(id=str(file), scale=scale))
    model_identity(model)  # does not refuse it
    expected = plain.picture(merged(directory, layers, scale), steps=2)
    assert np.abs(picture(model) - expected).max() < 1e-4
    assert np.abs(unchanged(directory) - expected).max() > 1e-3
    encoder, apart = TextEncoder(model, SAMPLER, "cpu"), Generator(model, SAMPLER, "cpu", False)
    made = apart(["a red ball"], [1], texts=[encoder.encode("a red ball")])
    assert np.abs(made.images_BHWC[0] - expected).max() < 1e-4


@pytest.fixture(scope="module", params=["sd15", "sdxl", "pixart"])
def base(request, tiny_models):
    directory = getattr(tiny_models, request.param)
    return request.param, directory, matrices(directory, LAYERS[request.param])


@pytest.fixture(scope="module", params=["sd15", "sdxl"])
def with_unet(request, tiny_models):
    directory = getattr(tiny_models, request.param)
    return request.param, directory, matrices(directory, LAYERS[request.param])


def test_the_layers_of_these_tests_are_there(base):
    family, _, layers = base
    parts = {name.split(".")[0] for name in layers}
    assert all(any(name.endswith(end) for name in layers) for end in LAYERS[family])
    assert (
        parts
        == {
            "sd15": {"unet", "text_encoder"},
            "sdxl": {"unet", "text_encoder", "text_encoder_2"},
            "pixart": {"transformer"},
        }[family]
    )


def test_peft_layout(base, tmp_path):
    _, directory, layers = base
    check(directory, write(tmp_path / "l.safetensors", layers, with_text_model), layers)


def test_diffusers_layout(base, tmp_path):
    _, directory, layers = base

    def rename(name):
        linear = "_linear_layer" if name.startswith("text_encoder") else ""
        return f"{with_text_model(name)}.lora{linear}"

    file = write(tmp_path / "l.safetensors", layers, rename, ".down.weight", ".up.weight")
    check(directory, file, layers)


def test_diffusers_oldest_layout(tiny_models, tmp_path):
    layers = matrices(tiny_models.sd15, ("attn1.to_q", "attn2.to_out.0"))

    def rename(name):
        name = name.replace("attn1.", "attn1.processor.").replace("attn2.", "attn2.processor.")
        return name.removesuffix(".0") + "_lora"

    file = write(tmp_path / "l.safetensors", layers, rename, ".down.weight", ".up.weight")
    check(tiny_models.sd15, file, layers)


def kohya(family: str, name: str) -> str:
    """Kohya's name of a layer: Stable Diffusion's as in diffusers, SDXL's as in the original."""
    part, path = with_text_model(name).split(".", 1)
    if part == "unet" and family == "sdxl":
        path = unet_name(path, 2, not path.startswith("up_blocks.2"))
    texts = {"sd15": {"text_encoder": "te"}, "sdxl": {"text_encoder": "te1"}}
    prefix = {"unet": "unet", "text_encoder_2": "te2", **texts[family]}[part]
    return f"lora_{prefix}_{path.replace('.', '_')}"


def write_kohya(path, family, layers, alphas):
    write(path, layers, partial(kohya, family), ".lora_down.weight", ".lora_up.weight")
    tensors = load_file(path)
    for name, alpha in zip(layers, alphas, strict=True):
        tensors[f"{kohya(family, name)}.alpha"] = torch.tensor(alpha)
    save_file(tensors, path)
    return path


def test_kohya_layout_with_an_alpha_of_each_layer(with_unet, tmp_path):
    family, directory, layers = with_unet
    alphas = [float(1 + i % 4) for i in range(len(layers))]
    file = write_kohya(tmp_path / "l.safetensors", family, layers, alphas)
    scaled = {
        name: (down, up * alpha / 2)
        for (name, (down, up)), alpha in zip(layers.items(), alphas, strict=True)
    }
    check(directory, file, scaled)


def test_kohya_names_of_published_files():
    """As they stand in LoRAs of SDXL that kohya's trainer has written."""
    names = {
        "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q": (
            "input_blocks.4.1.transformer_blocks.0.attn1.to_q"
        ),
        "down_blocks.2.attentions.1.proj_in": "input_blocks.8.1.proj_in",
        "mid_block.attentions.0.transformer_blocks.9.ff.net.0.proj": (
            "middle_block.1.transformer_blocks.9.ff.net.0.proj"
        ),
        "up_blocks.0.attentions.2.proj_out": "output_blocks.2.1.proj_out",
        "up_blocks.1.attentions.0.transformer_blocks.1.attn2.to_v": (
            "output_blocks.3.1.transformer_blocks.1.attn2.to_v"
        ),
        "up_blocks.0.upsamplers.0.conv": "output_blocks.2.2.conv",
        "down_blocks.0.downsamplers.0.conv": "input_blocks.3.0.op",
        "down_blocks.1.resnets.0.conv_shortcut": "input_blocks.4.0.skip_connection",
    }
    assert {path: unet_name(path, 2, True) for path in names} == names


def test_kohya_as_diffusers_reads_it(tiny_models, tmp_path):
    """Where diffusers can read such a file, the picture is the same."""
    layers = matrices(tiny_models.sdxl, ("attentions.0.transformer_blocks.0.attn1.to_q",))
    file = write_kohya(tmp_path / "l.safetensors", "sdxl", layers, [1.0] * len(layers))
    pipe = plain.pipeline(tiny_models.sdxl)
    pipe.load_lora_weights(tmp_path, weight_name=file.name, adapter_name="x")
    pipe.set_adapters(["x"], [0.7])
    model = Model(name="m", id=str(tiny_models.sdxl), lora=Lora(id=str(file), scale=0.7))
    assert np.abs(picture(model) - plain.picture(pipe, steps=2)).max() < 1e-5


def test_ranks_may_differ(tiny_models, tmp_path):
    layers = matrices(tiny_models.pixart, ("attn1.to_q",), 2)
    layers |= matrices(tiny_models.pixart, ("attn1.to_v",), 4)
    file = write(tmp_path / "l.safetensors", layers)
    check(tiny_models.pixart, file, layers)


def test_a_directory_that_peft_wrote(tiny_models, tmp_path):
    """Its alpha is in adapter_config.json."""
    layers = matrices(tiny_models.pixart, LAYERS["pixart"])

    def rename(name):
        return name.replace("transformer.", "base_model.model.", 1)

    write(tmp_path / "adapter_model.safetensors", layers, rename)
    (tmp_path / "adapter_config.json").write_text(json.dumps({"r": 2, "lora_alpha": 6}))
    check(tiny_models.pixart, tmp_path, {n: (down, 3 * up) for n, (down, up) in layers.items()})


def test_the_alpha_in_a_header_that_diffusers_wrote(tiny_models, tmp_path):
    layers = matrices(tiny_models.sd15, ("attn1.to_q", "attn1.to_k"))
    file = write(tmp_path / "l.safetensors", layers)
    training = {"unet.r": 2, "unet.lora_alpha": 4, "unet.alpha_pattern": {"attn1.to_k": 1}}
    metadata = {"format": "pt", "lora_adapter_metadata": json.dumps(training)}
    save_file(load_file(file), file, metadata=metadata)
    scaled = {n: (d, u * (0.5 if "to_k" in n else 2)) for n, (d, u) in layers.items()}
    check(tiny_models.sd15, file, scaled)


def refused(directory, file) -> str:
    model = Model(name="m", id=str(directory), lora=Lora(id=str(file)))
    return mistake(Generator, model, SAMPLER, "cpu")


@pytest.mark.parametrize("key", ["dora_scale", "hada_w1_a", "lora_mid.weight", "diff"])
def test_what_is_no_plain_lora_is_refused(tiny_models, tmp_path, key):
    layers = matrices(tiny_models.sd15, ("mid_block.attentions.0.proj_in",))
    file = write_kohya(tmp_path / "l.safetensors", "sd15", layers, [2.0])
    stranger = f"lora_unet_mid_block_attentions_0_proj_in.{key}"
    save_file(load_file(file) | {stranger: torch.zeros(2)}, file)
    told = refused(tiny_models.sd15, file)
    assert told == f"the LoRA of model m does not fit it: unexpected keys such as {stranger} (1)"


def test_a_matrix_without_the_other_is_refused(tiny_models, tmp_path):
    file = tiny.lora(tmp_path, tiny_models.sd15) / "pytorch_lora_weights.safetensors"
    tensors = load_file(file)
    lost = next(key for key in tensors if "lora_B" in key)
    save_file({key: value for key, value in tensors.items() if key != lost}, file)
    assert refused(tiny_models.sd15, file).endswith(f"comes without {lost}")


def test_a_layer_that_the_model_does_not_have_is_refused(tiny_models, tmp_path):
    layers = matrices(tiny_models.sdxl, ("layers.3.mlp.fc1",))
    file = write(tmp_path / "l.safetensors", layers)
    with pytest.raises(UserError, match=r"text_encoder_2.*no such module in model m"):
        model_identity(Model(name="m", id=str(tiny_models.sd15), lora=Lora(id=str(file))))
    told = refused(tiny_models.sd15, file)
    assert told.endswith("it changes text_encoder_2, which the model does not have")
    layers = {f"unet.nothing.{name}": value for name, value in layers.items()}
    file = write(tmp_path / "l.safetensors", layers)
    assert "no layer nothing.text_encoder" in refused(tiny_models.sd15, file)


def test_a_file_that_is_damaged_is_refused(tiny_models, tmp_path):
    file = tmp_path / "l.safetensors"
    file.write_bytes(b"no weights")
    assert "the LoRA of model m cannot be read" in refused(tiny_models.sd15, file)


def test_layers_have_the_precision_of_the_model(tiny_models):
    model = Model(
        name="m", id=str(tiny_models.sdxl), dtype="bfloat16", lora=Lora(id=str(tiny_models.lora))
    )
    unet = Generator(model, SAMPLER, "cpu")._pipe.unet
    kinds = {p.dtype for name, p in unet.named_parameters() if "lora" in name}
    assert kinds == {torch.bfloat16}


def test_a_part_that_changes_nothing_may_stand_beside_one_that_does(tiny_models, tmp_path):
    """Trainers write zeros for a text encoder that was not trained."""
    layers = matrices(tiny_models.sd15, ("layers.3.mlp.fc1", "attn1.to_q"))
    layers = {
        name: (down, up * 0 if name.startswith("text_encoder") else up)
        for name, (down, up) in layers.items()
    }
    file = tmp_path / "l.safetensors"
    write(file, layers, with_text_model)
    check(tiny_models.sd15, file, layers)
    save_file({key: value * 0 for key, value in load_file(file).items()}, file)
    model = Model(name="m", id=str(tiny_models.sd15), lora=Lora(id=str(file)))
    with pytest.raises(UserError, match="must change the picture"):
        TextEncoder(model, SAMPLER, "cpu")
