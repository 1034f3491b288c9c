"""What the sections of a config mean together."""

import pytest

from raypipe.config.model import Model, Sampler
from raypipe.config.networks import Encoder
from raypipe.studies.consistency.settings import Consistency


def test_a_model_keeps_the_runs_sampler_but_for_its_own_keys():
    model = Model(name="a", id="x", sampler={"steps": 4, "negative_prompt": ""})
    config = Consistency(
        models=(model,), prompts=("p",), seeds=2, sampler=Sampler(guidance=3), output="o"
    )
    assert config.sampler_of(model) == Sampler(guidance=3, steps=4, negative_prompt="")
    assert config.sampler_of(Model(name="b", id="y")) == Sampler(guidance=3)


@pytest.mark.parametrize(
    ("encoder", "name"),
    [
        (Encoder(), "ViT-B-32/openai"),
        (Encoder(id="ViT-B-32", pretrained="laion2b_s34b_b79k"), "ViT-B-32/laion2b_s34b_b79k"),
        (Encoder(id="miniature/clip"), "miniature/clip"),
        (Encoder(library="timm", id="vit_small_patch14_dinov2"), "vit_small_patch14_dinov2"),
    ],
)
def test_an_encoder_is_named_by_what_decides_its_vectors(encoder, name):
    assert encoder.name == name


def test_a_single_encoder_and_a_bare_folder_need_no_list_or_mapping():
    config = Consistency.model_validate({"images": "dir", "encoder": {"id": "e"}, "output": "o"})
    assert config.encoder == (Encoder(id="e"),)
    assert config.images is not None
    assert config.images.folder == "dir"


def test_one_model_alone_may_be_scored():
    config = Consistency.model_validate(
        {"models": [{"name": "a", "id": "x"}], "prompts": ["p"], "seeds": 2, "output": "o"}
    )
    assert config.comparisons is None
