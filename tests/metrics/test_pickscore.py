"""PickScore against transformers' own CLIPModel, as the README of PickScore uses it."""

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from raypipe.errors import UserError
from raypipe.metrics.pickscore import PickScore
from raypipe.metrics.settings import PickScore as Settings
from raypipe.metrics.settings import Weights


@pytest.fixture(scope="module")
def config(pickscore_directory):
    there = Weights(id=str(pickscore_directory))
    return Settings(weights=there, processor=there)


@pytest.fixture(scope="module")
def metric(config):
    return PickScore(config, "cpu")


def test_it_is_the_logit_of_the_model(metric, pickscore_directory, pictures, prompts):
    model = transformers.CLIPModel.from_pretrained(pickscore_directory).eval()
    processor = transformers.CLIPProcessor.from_pretrained(pickscore_directory)
    expected = []
    for picture, prompt in zip(pictures, prompts, strict=True):
        inputs = processor(text=[prompt], images=[picture], padding=True, return_tensors="pt")
        with torch.inference_mode():
            expected.append(model(**inputs).logits_per_image.item())
    assert np.allclose(metric(pictures, prompts), expected, atol=1e-4)


def test_batches_change_nothing(metric, batches_change_nothing):
    batches_change_nothing(metric)


def test_a_long_prompt_is_cut_at_the_window(metric, pictures):
    long = " ".join(["ball"] * 200)
    assert np.isfinite(metric(pictures[:1], [long])).all()
    assert metric(pictures[:1], [long])[0] == metric(pictures[:1], [long + " box"])[0]


def test_prompts_are_needed(metric, pictures):
    with pytest.raises(ValueError, match="needs its prompt"):
        metric(pictures, ["one"])


def test_missing_and_foreign_layers_are_refused(config, pickscore_directory, tmp_path):
    state = load_file(pickscore_directory / "model.safetensors")
    del state["visual_projection.weight"]
    settings = pickscore_directory / "config.json"
    (tmp_path / "config.json").write_text(settings.read_text())
    save_file(state, tmp_path / "model.safetensors", metadata={"format": "pt"})
    broken = config.model_copy(update={"weights": Weights(id=str(tmp_path))})
    with pytest.raises(UserError, match=r"1 missing \(visual_projection.weight\)"):
        PickScore(broken, "cpu")
    state = load_file(pickscore_directory / "model.safetensors") | {"extra": torch.zeros(2)}
    save_file(state, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"1 foreign \(extra\)"):
        PickScore(broken, "cpu")


def test_a_directory_without_weights(config, tmp_path):
    empty = config.model_copy(update={"weights": Weights(id=str(tmp_path))})
    with pytest.raises(UserError, match="weights of metric pickscore cannot be loaded"):
        PickScore(empty, "cpu")
