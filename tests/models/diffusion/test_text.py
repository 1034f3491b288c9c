"""Text that is encoded apart gives the same pictures to the last bit."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from raypipe.config.model import Lora, Memory, Model, Sampler
from raypipe.errors import UserError
from raypipe.models.diffusion.generator import Generator
from raypipe.models.diffusion.text import TextEncoder
from raypipe.weights.identity import can_encode_apart

SAMPLER = Sampler(scheduler="euler", steps=2, guidance=5.0, width=32, height=32)
PROMPTS = ["a red ball", "a portrait of a woman", "a red ball"]
SEEDS = [3, 4, 5]


@pytest.fixture(params=["sd15", "sdxl", "pixart"])
def directory(request, tiny_models):
    return str(getattr(tiny_models, request.param))


def apart(model, sampler=SAMPLER):
    """Pictures of PROMPTS whose text another object encoded."""
    encoder = TextEncoder(model, sampler, "cpu")
    generator = Generator(model, sampler, "cpu", encodes_text=False)
    return generator(PROMPTS, SEEDS, texts=[encoder.encode(p) for p in PROMPTS]).images_BHWC


def inline(model, sampler=SAMPLER):
    return Generator(model, sampler, "cpu")(PROMPTS, SEEDS).images_BHWC


@pytest.mark.parametrize("changes", [{}, {"negative_prompt": "blue"}, {"guidance": 1.0}])
def test_pictures_are_the_same_to_the_last_bit(directory, changes):
    sampler = SAMPLER.model_copy(update=changes)
    model = Model(name="m", id=directory)
    assert np.array_equal(apart(model, sampler), inline(model, sampler))


def test_each_loads_only_its_parts(directory):
    model = Model(name="m", id=directory)
    text = TextEncoder(model, SAMPLER, "cpu")._pipe.components
    pictures = Generator(model, SAMPLER, "cpu", encodes_text=False)._pipe.components

    def loaded(parts):
        return {name for name, part in parts.items() if isinstance(part, torch.nn.Module)}

    assert loaded(text) in ({"text_encoder"}, {"text_encoder", "text_encoder_2"})
    assert loaded(pictures) in ({"vae", "unet"}, {"vae", "transformer"})


def test_truncation_is_known_where_text_is_encoded(directory):
    encoder = TextEncoder(Model(name="m", id=directory), SAMPLER, "cpu")
    assert encoder.truncated("red ball " * 200)
    assert not encoder.truncated("a red ball")


def test_only_pipelines_that_take_encoded_text_are_encoded_apart(directory, tmp_path):
    assert can_encode_apart(Model(name="m", id=directory))
    (tmp_path / "model_index.json").write_text('{"_class_name": "KandinskyPipeline"}')
    assert not can_encode_apart(Model(name="m", id=str(tmp_path)))


def test_offload_is_not_for_text_on_a_cpu(tiny_models):
    """Pictures may be made on a GPU, under offload, of text that a CPU encodes."""
    model = Model(name="m", id=str(tiny_models.pixart))
    offloaded = model.model_copy(update={"memory": Memory(offload="model")})
    texts = [TextEncoder(one, SAMPLER, "cpu").encode("a red ball") for one in (model, offloaded)]
    assert all(torch.equal(texts[0][name], texts[1][name]) for name in texts[0])
    with pytest.raises(UserError, match=r"memory\.offload needs a GPU, got device cpu"):
        Generator(offloaded, SAMPLER, "cpu")


def test_options_of_text_encoding_act(tiny_models):
    skipping = Model(name="m", id=str(tiny_models.sdxl), options={"clip_skip": 1})
    plain = Model(name="m", id=str(tiny_models.sdxl))
    assert np.array_equal(apart(skipping), inline(skipping))
    assert not np.array_equal(apart(skipping), apart(plain))


def test_clip_skip_of_stable_diffusion_is_refused_where_the_libraries_break_it(tiny_models):
    skipping = Model(name="m", id=str(tiny_models.sd15), options={"clip_skip": 1})
    with pytest.raises(UserError, match="clip_skip of model m"):
        TextEncoder(skipping, SAMPLER, "cpu")


def text_lora(path):
    """A LoRA on both text encoders of the tiny SDXL, in diffusers' layout."""
    generator = torch.Generator().manual_seed(0)
    tensors = {}
    for part, width in (("text_encoder", 16), ("text_encoder_2", 32)):
        layer = f"{part}.text_model.encoder.layers.0.self_attn.q_proj.lora_linear_layer"
        tensors[f"{layer}.down.weight"] = torch.randn(2, width, generator=generator)
        tensors[f"{layer}.up.weight"] = torch.randn(width, 2, generator=generator)
    save_file(tensors, path)
    return Lora(id=str(path))


def test_a_lora_of_the_text_encoders_acts_where_text_is_encoded(tiny_models, tmp_path):
    base = Model(name="m", id=str(tiny_models.sdxl))
    model = base.model_copy(update={"lora": text_lora(tmp_path / "l.safetensors")})
    assert np.array_equal(apart(model), inline(model))
    assert not np.array_equal(apart(model), apart(base))


def test_a_lora_of_the_denoiser_is_checked_by_the_first_batch(tiny_models, tmp_path):
    model = Model(name="m", id=str(tiny_models.sdxl), lora=Lora(id=str(tiny_models.lora)))
    assert np.array_equal(apart(model), inline(model))
    nothing = model.lora.model_copy(update={"scale": 0.0})
    with pytest.raises(UserError, match="must change the picture"):
        apart(model.model_copy(update={"lora": nothing}))
