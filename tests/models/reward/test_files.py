"""Rewards are loaded from the published layouts and our own, strictly, and score in batches."""

import json
import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError
from safetensors.torch import load_file

from raypipe.config.networks import Reward, RewardFacts
from raypipe.errors import UserError
from raypipe.models.reward.files import read_reward, save_reward
from raypipe.models.reward.input import preprocess
from raypipe.models.reward.layout import find_reward
from raypipe.models.reward.network import load_upstream_state_dict, new_network
from raypipe.models.reward.scores import load_reward
from raypipe.weights.node import BERT
from tests.support import ROOT, reward_files
from tests.support import reward_recipe as recipe
from tests.support.hub_server import REPOSITORY, Hub

SCORE = """
import json, sys
from PIL import Image
from raypipe.errors import UserError
from raypipe.weights import retry
from raypipe.models.reward.scores import load_reward
retry.FIRST_PAUSE = 0.01
try:
    reward = load_reward(sys.argv[1], "cpu")
    told = reward.score([Image.new("RGB", (32, 32))], ["a red ball"]).item()
except UserError as error:
    told = str(error)
print(json.dumps(told))
"""
MEAN, STD = 0.16717362830052426, 1.0333394966054072


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A directory of each published kind, and the weights that both hold."""
    root = tmp_path_factory.mktemp("published")
    state = reward_files.published(root / "image", "ImageReward.pt")
    reward_files.published(root / "face", "FS_model.pt")
    return root, state


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """A reward in our own layout."""
    root = tmp_path_factory.mktemp("own")
    torch.manual_seed(0)
    network = new_network(reward_files.SMALL)
    facts = RewardFacts(kind="face_score", heads=(4, 3), image_size=32, max_length=20)
    save_reward(root / "reward", network, reward_files.tokenizer(root / "bert"), facts)
    return root / "reward", network, facts


@pytest.fixture
def copy(own, tmp_path):
    return shutil.copytree(own[0], tmp_path / "copy")


@pytest.fixture
def pictures():
    return [recipe.picture(3, mode, 60, 40) for mode in ("RGB", "RGBA", "L", "RGB")]


def expected(state, pictures, ids):
    network = load_upstream_state_dict(state, (16, 12))
    pixels = torch.stack([preprocess(picture, 32) for picture in pictures])
    ids = torch.tensor([ids] * len(pictures))
    with torch.inference_mode():
        return network(pixels, ids, torch.ones_like(ids)).double().numpy()


def test_image_reward_scores_pictures_with_their_texts(published, pictures):
    root, state = published
    reward = load_reward(str(root / "image"), "cpu")
    raw = expected(state, pictures, [101, 1037, 2417, 3608, 102])
    told = reward.score(pictures, ["A red ball"] * 4)
    assert told.dtype == np.float64
    assert np.allclose(told, (raw - MEAN) / STD, atol=1e-5)
    raw_reward = load_reward(Reward(id=str(root / "image"), standardize=False), "cpu")
    assert np.allclose(raw_reward.score(pictures, ["A red ball"] * 4), raw, atol=1e-5)


def test_face_score_reads_one_text_and_gives_the_raw_number(published, pictures):
    root, state = published
    reward = load_reward(str(root / "face"), "cpu")
    raw = expected(state, pictures, [101, 1037, 2227, 1012, 102])
    assert np.allclose(reward.score(pictures), raw, atol=1e-5)
    assert np.allclose(reward.score(pictures, ["a ball"] * 4), raw, atol=1e-5)


def test_a_picture_scores_the_same_in_any_batch(published, pictures):
    reward = load_reward(str(published[0] / "image"), "cpu")
    texts = ["a ball", "A red ball. A face.", "a", "[ENC] " + "red ball " * 40]
    together = reward.score(pictures, texts)
    alone = [reward.score([p], [text])[0] for p, text in zip(pictures, texts, strict=True)]
    assert np.allclose(together, alone, atol=1e-5)
    assert np.ptp(together) > 0.01
    assert len(reward.score([], [])) == 0


def test_bfloat16_moves_scores_by_its_rounding(published, pictures):
    exact, rounded = (
        load_reward(Reward(id=str(published[0] / "face"), precision=precision), "cpu")
        for precision in ("float32", "bfloat16")
    )
    told = rounded.score(pictures)
    assert 0 < np.abs(told - exact.score(pictures)).max() < 0.05
    with pytest.raises(ValidationError, match="precision bfloat16 needs backend port, got ups"):
        Reward(precision="bfloat16", backend="upstream")


def test_texts_are_cut_at_the_window(published):
    texts = load_reward(str(published[0] / "image"), "cpu").texts
    ids, mask = texts(["a face", "red " * 40])
    assert ids.tolist()[0] == [101, 1037, 2227, 102] + [0] * 31
    assert ids.tolist()[1] == [101] + [2417] * 33 + [102]
    assert mask.sum(dim=1).tolist() == [4, 35]
    assert [texts.is_cut("red " * n) for n in (33, 34)] == [False, True]
    assert texts(["[DEC] [ENC] faces"])[0].tolist() == [[101, 30522, 30523, 2227, 4, 102]]


def test_image_reward_needs_a_text_for_each_picture(published, pictures):
    reward = load_reward(str(published[0] / "image"), "cpu")
    for texts in (None, ["a"]):
        with pytest.raises(ValueError, match="one text a picture"):
            reward.score(pictures, texts)


def test_what_is_saved_is_loaded(own):
    folder, network, facts = own
    again, texts, read = read_reward(find_reward(folder))
    assert read == facts
    for (name, one), other in zip(network.named_parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other), name
    assert texts(["A red face."])[0].tolist() == [[101, 1037, 2417, 2227, 1012, 102]]
    assert texts(["red " * 40])[0].shape == (1, 20)
    names = set(load_file(folder / "model.safetensors"))
    assert names == set(recipe.shapes(recipe.TINY)) - {
        "blip.text_encoder.embeddings.position_ids",
        *(f"blip.{side}_proj.{kind}" for side in ("vision", "text") for kind in ("weight", "bias")),
    }


def test_the_words_are_saved_for_upstream_too(own):
    words = (own[0] / "vocab.txt").read_text().splitlines()
    assert len(words) == 30522
    assert (words[101], words[2227]) == ("[CLS]", "face")


def test_face_score_in_its_later_home_lies_in_a_folder(tmp_path):
    reward_files.published(tmp_path / "FaceScore_model", "FS_model.pt")
    assert find_reward(tmp_path).facts.kind == "face_score"


def scored_from_hub(files, home):
    """The score, in a process whose hub has the files; or what the UserError says."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    with Hub(files) as hub:
        environment = {
            **inherited,
            "PYTHONPATH": str(ROOT),
            "HF_ENDPOINT": hub.url,
            "HF_HOME": str(home / "hub"),
            "RAYPIPE_CACHE": str(home / "raypipe"),
        }
        command = [sys.executable, "-c", SCORE, REPOSITORY]
        told = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        return json.loads(told.stdout.splitlines()[-1]), hub.downloads()


def test_a_reward_comes_from_the_hub_but_for_what_it_does_not_need(published, tmp_path):
    files = {p.name: p.read_bytes() for p in (published[0] / "image").iterdir()}
    told, downloads = scored_from_hub({**files, "README.md": b"", "demo.jpg": b""}, tmp_path)
    here = load_reward(str(published[0] / "image"), "cpu")
    black = Image.new("RGB", (32, 32))
    assert told == pytest.approx(here.score([black], ["a red ball"])[0], abs=1e-5)
    assert sorted(downloads) == ["ImageReward.pt", "med_config.json", "vocab.txt"]


def test_a_reward_without_a_tokenizer_asks_for_berts(published, tmp_path):
    files = {p.name: p.read_bytes() for p in (published[0] / "face").iterdir()}
    told, downloads = scored_from_hub({"FS_model.pt": files["FS_model.pt"]}, tmp_path)
    assert downloads == ["FS_model.pt"]
    assert "the rewards' tokenizer" in told  # which this hub does not have
    assert BERT in told


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"kind": "face"}, "kind: Input should be 'image_reward' or 'face_score', got .face."),
        ({"heads": [4, 5]}, "text heads must divide the width 36, got 5"),
        ({"image_size": 64}, "image_size is 64, the weights have 32"),
        ({"max_length": 65}, "must not exceed the 64 positions of the weights, got 65"),
        ({"std": 0}, "std: Input should be greater than 0, got 0"),
        ({"head": 4}, "unknown key head; did you mean heads?"),
    ],
)
def test_a_config_that_does_not_fit_is_refused(copy, change, told):
    facts = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(facts | change))
    with pytest.raises(UserError, match=re.escape(told) if "?" in told else told) as error:
        load_reward(str(copy), "cpu")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("file", "told"),
    [
        ("config.json", "must hold config.json"),
        ("model.safetensors", "must hold model.safetensors or one of ImageReward.pt, FS_model.pt"),
    ],
)
def test_a_directory_without_a_file_is_refused(copy, file, told):
    (copy / file).unlink()
    with pytest.raises(UserError, match=told):
        load_reward(str(copy), "cpu")


def test_a_tokenizer_of_other_words_is_refused(copy):
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (copy / name).unlink()
    with pytest.raises(UserError, match="must have the 30524 tokens of its network, got 30522"):
        load_reward(str(copy), "cpu")
    (copy / "vocab.txt").unlink()
    with pytest.raises(UserError, match=r"must have vocab.txt or tokenizer.json"):
        load_reward(str(copy), "cpu")


@pytest.mark.parametrize("file", ["model.safetensors", "ImageReward.pt"])
def test_damaged_weights_are_refused(own, published, tmp_path, file):
    source = own[0] if file == "model.safetensors" else published[0] / "image"
    folder = shutil.copytree(source, tmp_path / "damaged")
    weights = folder / file
    for content in (weights.read_bytes()[:5000], b""):
        weights.write_bytes(content)
        with pytest.raises(UserError, match="reward cannot be loaded") as error:
            load_reward(str(folder), "cpu")
        assert "\n" not in str(error.value)


class Evil:
    def __reduce__(self):
        return (open, ("touched", "w"))


def test_a_pickle_that_runs_code_is_refused(published, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = shutil.copytree(published[0] / "image", tmp_path / "evil")
    torch.save({"mlp.layers.7.bias": Evil()}, folder / "ImageReward.pt")
    with pytest.raises(UserError, match="no file of tensors"):
        load_reward(str(folder), "cpu")
    assert not (tmp_path / "touched").exists()
    torch.save([1, 2], folder / "ImageReward.pt")
    with pytest.raises(UserError, match="must hold tensors by name, got list"):
        load_reward(str(folder), "cpu")


def test_med_config_must_fit_the_weights(published, tmp_path):
    folder = shutil.copytree(published[0] / "image", tmp_path / "other")
    config = reward_files.med_config(reward_files.TINY)
    (folder / "med_config.json").write_text(json.dumps({**config, "num_hidden_layers": 12}))
    with pytest.raises(UserError, match="num_hidden_layers is 12, the weights have 3"):
        load_reward(str(folder), "cpu")


def test_a_directory_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"must hold model.safetensors or one of .*got none"):
        load_reward(str(tmp_path / "nothing"), "cpu")
