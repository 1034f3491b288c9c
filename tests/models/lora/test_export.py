"""An exported LoRA is the one that was trained, whoever reads it: raypipe, diffusers, a person."""

import hashlib
import json
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import diffusers
import pytest
import torch
import yaml
from peft import LoraConfig
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors import safe_open
from safetensors.torch import load_file

from raypipe.config.model import Lora, Model
from raypipe.models.lora.export import LoraFacts, kohya_name, model_card, save
from raypipe.models.lora.file import Layer
from raypipe.models.lora.place import load_lora
from raypipe.storage.files import Folder
from raypipe.weights.identity import model_identity
from raypipe.weights.locate import fingerprint, locate

RANK = 3
FILES = ("lora.safetensors", "lora_kohya.safetensors")
KINDS = (
    "attn1.to_q",
    "attn2.to_k",
    "attn1.to_v",
    "attn2.to_out.0",
    "ff.net.0.proj",
    "ff.net.2",
    "proj_in",
    "proj_out",
    "conv1",
    "conv2",
    "conv_shortcut",
    "time_emb_proj",
    "downsamplers.0.conv",
    "upsamplers.0.conv",
)
FACTS = LoraFacts(
    base="some/model",
    revision="0123abc",
    family="StableDiffusionPipeline",
    pairs=("s3://bucket/pairs", "runs/miniature: pairs"),
    loss="guidance_step",
    steps=1234,
    rank=RANK,
    licence="CreativeML Open RAIL-M",
    trained_on=5678,
    weights_hash="sha256:0011",
)


def trained(unet) -> dict[str, Layer]:
    """Random matrices for layers of these kinds, as a trainer hands them over.

    Of SDXL's ten transformers in a row the first and the last are enough.
    """
    generator = torch.Generator().manual_seed(0)
    layers = {}
    for path, module in unet.named_modules():
        if not path.endswith(KINDS) or re.search(r"transformer_blocks\.[1-8]\.", path):
            continue
        if isinstance(module, torch.nn.Linear | torch.nn.Conv2d):
            outputs, inputs, *kernel = module.weight.shape
            down = torch.randn(RANK, inputs, *kernel, generator=generator)
            up = torch.randn(outputs, RANK, *[1 for _ in kernel], generator=generator)
            layers[path] = Layer(down / inputs**0.5, 0.5 * up)
    assert all(any(path.endswith(kind) for path in layers) for kind in KINDS)
    return layers


def output(unet) -> torch.Tensor:
    """What the UNet makes of fixed inputs."""
    config, generator = unet.config, torch.Generator().manual_seed(1)
    size = config["sample_size"]
    x_BChw = torch.randn(2, config["in_channels"], size, size, generator=generator)
    text_BLD = torch.randn(2, 5, config["cross_attention_dim"], generator=generator)
    added = {}
    if config["addition_embed_type"] == "text_time":
        ids_B6 = torch.tensor([[32.0, 32, 0, 0, 32, 32]]).repeat(2, 1)
        width = config["projection_class_embeddings_input_dim"]
        pooled = width - 6 * config["addition_time_embed_dim"]
        pooled_BD = torch.randn(2, pooled, generator=generator)
        added = {"added_cond_kwargs": {"time_ids": ids_B6, "text_embeds": pooled_BD}}
    with torch.no_grad():
        return unet(x_BChw, torch.tensor([10, 700]), text_BLD, **added).sample


def with_peft(unet, layers: dict[str, Layer]):
    """The UNet with the layers put in by peft alone."""
    unet.add_adapter(LoraConfig(r=RANK, lora_alpha=RANK, target_modules=list(layers)))
    for path, layer in layers.items():
        module = unet.get_submodule(path)
        module.lora_A["default"].weight.data = layer.down
        module.lora_B["default"].weight.data = layer.up
    return unet


def tuned(unet) -> set[str]:
    return {path for path, module in unet.named_modules() if isinstance(module, BaseTunerLayer)}


@pytest.fixture(scope="module", params=["sd15", "sdxl", "miniature/sd15", "miniature/sdxl"])
def exported(request, tiny_models, tmp_path_factory) -> SimpleNamespace:
    """A LoRA's folder, its layers, and the outputs that it and the plain UNet must have."""
    small = request.param.startswith("miniature/")
    base = request.param if small else str(getattr(tiny_models, request.param))
    unet = diffusers.UNet2DConditionModel.from_pretrained(locate(base), subfolder="unet")
    index = diffusers.DiffusionPipeline.load_config(locate(base))
    facts = replace(
        FACTS,
        base=base,
        revision=None,
        family=index["_class_name"],
        weights_hash=fingerprint(locate(base), None, "base"),
    )
    layers, plain = trained(unet), output(unet)
    where = tmp_path_factory.mktemp("export") / "run" / "model"
    save(Folder(str(where)), layers, facts, unet.config)
    expected = output(with_peft(unet, layers))
    assert tuned(unet) == set(layers)
    assert (expected - plain).abs().max() > 0.1
    return SimpleNamespace(where=where, base=base, facts=facts, layers=layers, expected=expected)


def pipeline(exported):
    """The plain pipeline, without what takes long to load and is not changed."""
    absent = {"text_encoder": None, "text_encoder_2": None, "vae": None}
    if "XL" not in exported.facts.family:
        absent = {"safety_checker": None}
    return diffusers.DiffusionPipeline.from_pretrained(locate(exported.base), **absent)


@pytest.mark.parametrize("file", FILES)
def test_raypipe_loads_it_as_a_model_entry(exported, file):
    entry = {"name": "tuned", "id": exported.base}
    lora = Lora(id=str(exported.where), weight_name=file)
    model = Model(**entry, lora=lora)
    assert model_identity(model) != model_identity(Model(**entry))
    pipe = pipeline(exported)
    assert load_lora(pipe, model) is not None
    assert tuned(pipe.unet) == set(exported.layers)
    assert torch.allclose(output(pipe.unet), exported.expected, atol=1e-5)


@pytest.mark.parametrize("file", FILES)
def test_diffusers_loads_it_whole(exported, file):
    pipe = pipeline(exported)
    pipe.load_lora_weights(exported.where, weight_name=file)
    assert tuned(pipe.unet) == set(exported.layers)
    assert torch.allclose(output(pipe.unet), exported.expected, atol=1e-5)


def test_the_folder_holds_two_files_and_a_card(exported):
    assert {path.name for path in exported.where.iterdir()} == {*FILES, "README.md"}


@pytest.mark.parametrize("file", FILES)
def test_the_header_says_what_it_is(exported, file):
    with safe_open(exported.where / file, "pt") as stream:
        said = stream.metadata()
    facts = exported.facts
    own = {k.removeprefix("raypipe."): v for k, v in said.items() if k.startswith("raypipe.")}
    for key in ("pairs", "steps", "rank", "trained_on"):
        own[key] = json.loads(own[key])
    own["pairs"] = tuple(own["pairs"])
    assert LoraFacts(**own, revision=None) == facts
    xl = "XL" in facts.family
    architecture = "stable-diffusion-xl-v1-base" if xl else "stable-diffusion-v1"
    assert said["modelspec.architecture"] == f"{architecture}/lora"
    assert said["modelspec.license"] == facts.licence
    assert {f"modelspec.{key}" for key in ("sai_model_spec", "implementation", "title")} <= {*said}
    data = (exported.where / file).read_bytes()
    content = hashlib.sha256(data[8 + int.from_bytes(data[:8], "little") :]).hexdigest()
    assert said["modelspec.hash_sha256"] == f"0x{content}"
    kohya = {key for key in said if key.startswith("ss")}
    if file == "lora.safetensors":
        assert not kohya
    else:
        assert said["ss_base_model_version"] == ("sdxl_base_v1-0" if xl else "sd_v1")
        assert (said["ss_network_dim"], said["ss_steps"]) == (str(RANK), "1234")
        assert said["sshs_model_hash"] == content


def test_a_revision_is_in_the_header(tmp_path):
    layer = Layer(torch.zeros(RANK, 4), torch.zeros(4, RANK))
    save(Folder(str(tmp_path)), {"mid_block.attentions.0.proj_in": layer}, FACTS, {})
    for file in FILES:
        with safe_open(tmp_path / file, "pt") as stream:
            assert stream.metadata()["raypipe.revision"] == "0123abc"


def test_kohyas_file_has_kohyas_keys(exported):
    tensors = load_file(exported.where / "lora_kohya.safetensors")
    assert len(tensors) == 3 * len(exported.layers)
    names = {key.split(".", 1)[0] for key in tensors}
    assert {key.split(".", 1)[1] for key in tensors} == {
        "lora_down.weight",
        "lora_up.weight",
        "alpha",
    }
    assert {float(tensors[f"{name}.alpha"]) for name in names} == {RANK}
    blocks = "input_blocks" if "XL" in exported.facts.family else "down_blocks"
    assert any(name.startswith(f"lora_unet_{blocks}_") for name in names)


def test_names_of_published_kohya_files():
    """SDXL's as in the original code, those of SD 1.5 as in diffusers."""
    config = {"layers_per_block": 2, "up_block_types": ["CrossAttnUpBlock2D"] * 2 + ["UpBlock2D"]}
    path = "up_blocks.1.attentions.0.transformer_blocks.1.attn2.to_out.0"
    xl = kohya_name(path, "StableDiffusionXLPipeline", config)
    assert xl == "lora_unet_output_blocks_3_1_transformer_blocks_1_attn2_to_out_0"
    sd = kohya_name(path, "StableDiffusionPipeline", config)
    assert sd == "lora_unet_up_blocks_1_attentions_0_transformer_blocks_1_attn2_to_out_0"
    path = "up_blocks.0.upsamplers.0.conv"  # the third in its block, behind the attention
    xl = kohya_name(path, "StableDiffusionXLPipeline", config)
    assert xl == "lora_unet_output_blocks_2_2_conv"


def test_what_the_facts_contradict_is_no_export(tmp_path):
    layer = Layer(torch.zeros(RANK + 1, 4), torch.zeros(4, RANK + 1))
    with pytest.raises(AssertionError, match="rank"):
        save(Folder(str(tmp_path)), {"mid_block.attentions.0.proj_in": layer}, FACTS, {})
    assert not list(tmp_path.iterdir())


def front_and_body(card: str) -> tuple[dict, str]:
    _, front, body = card.split("---\n", 2)
    return yaml.safe_load(front), body


def test_the_card_has_every_fact():
    front, body = front_and_body(model_card(FACTS))
    assert front["base_model"] == "some/model"
    assert (front["license"], front["license_name"]) == ("other", FACTS.licence)
    assert {"lora", "diffusers", "stable-diffusion"} <= set(front["tags"])
    for fact in (*FACTS.pairs, *(v for v in vars(FACTS).values() if not isinstance(v, tuple))):
        assert str(fact) in body


def test_a_licences_identifier_is_written_as_it_is():
    front, _ = front_and_body(model_card(replace(FACTS, licence="openrail++")))
    assert front["license"] == "openrail++"
    assert "license_name" not in front


@pytest.mark.parametrize(
    "text", ["a: b", "- x", "{y}", "null", "'q' \"z\"", "#1", "ä 😀", "%", "two\nlines"]
)
def test_hostile_facts_leave_the_front_matter_readable(text):
    facts = replace(FACTS, base=text, licence=text, pairs=(text,), revision=text)
    front, body = front_and_body(model_card(facts))
    assert front["base_model"] == text
    assert text in (front["license"], front.get("license_name"))
    entry = yaml.safe_load(block(body, "yaml"))["models"][0]
    assert (entry["id"], entry["revision"]) == (text, text)
    compile(block(body, "python"), "card", "exec")


def block(card: str, language: str) -> str:
    (found,) = re.findall(rf"```{language}\n(.*?)\n```", card, flags=re.DOTALL)
    return found


def test_the_card_tells_how_to_load_it(exported, monkeypatch):
    card = (exported.where / "README.md").read_text()
    monkeypatch.chdir(exported.where)
    spoken: dict = {}
    exec(block(card, "python"), spoken)
    assert torch.allclose(output(spoken["pipe"].unet), exported.expected, atol=1e-5)
    (entry,) = yaml.safe_load(block(card, "yaml"))["models"]
    model = Model.model_validate(entry)
    assert model.lora is not None
    assert Path(model.lora.id).resolve() == exported.where / "lora.safetensors"
    pipe = pipeline(exported)
    load_lora(pipe, model)
    assert torch.allclose(output(pipe.unet), exported.expected, atol=1e-5)
