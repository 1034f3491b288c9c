"""Both backends give the same rewards, from pictures and texts to numbers; upstream's is strict.

What needs image-reward itself runs where `make env-imagereward` has made its environment.
"""

import shutil
import sys

import numpy as np
import pytest
import torch

from raypipe.config.networks import Reward
from raypipe.errors import UserError
from raypipe.models.reward.layout import find_reward
from raypipe.models.reward.scores import load_reward
from raypipe.models.reward.upstream import VARIABLE, UpstreamReward, interpreter
from tests.support import reward_files
from tests.support import reward_recipe as recipe


def missing() -> str | None:
    try:
        interpreter(Reward(backend="upstream"))
    except UserError as error:
        return str(error)
    return None


needs_upstream = pytest.mark.skipif(
    missing() is not None, reason="image-reward is not there: make env-imagereward"
)


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    """A published directory at full size: upstream knows no other."""
    folder = tmp_path_factory.mktemp("full")
    reward_files.published(folder, "ImageReward.pt", recipe.FULL, seed=9)
    return folder


@needs_upstream
@pytest.mark.slow
def test_both_backends_give_the_same_rewards(full):
    sizes = [("RGB", 300, 260), ("RGBA", 300, 260), ("L", 100, 180), ("P", 300, 260)]
    pictures = [recipe.picture(4, *size) for size in sizes]
    texts = ["A red ball", "[ENC] a face.", "", "red " * 40]
    upstream = load_reward(Reward(id=str(full), backend="upstream"), "cpu").score(pictures, texts)
    here = load_reward(Reward(id=str(full)), "cpu").score(pictures, texts)
    assert np.ptp(upstream) > 0.01
    assert np.abs(here - upstream).max() < 1e-5


@needs_upstream
@pytest.mark.slow
def test_upstream_is_strict_too(full, tmp_path):
    for name in ("vocab.txt", "med_config.json"):
        shutil.copy(full / name, tmp_path)
    state = torch.load(full / "ImageReward.pt", mmap=True)
    state["mlp.layers.8.bias"] = state.pop("mlp.layers.7.bias")
    torch.save(state, tmp_path / "ImageReward.pt")
    with pytest.raises(UserError, match=r"missing keys .*layers.7.bias.*foreign.*layers.8.bias"):
        load_reward(Reward(id=str(tmp_path), backend="upstream"), "cpu")


@pytest.fixture
def small(tmp_path):
    reward_files.published(tmp_path / "small", "ImageReward.pt")
    return find_reward(tmp_path / "small")


def test_the_command_that_makes_the_environment_is_named(small, tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(tmp_path / "python"))
    told = f"run `make env-imagereward`.*got {tmp_path}/python"
    with pytest.raises(UserError, match=told):
        UpstreamReward(Reward(backend="upstream"), small, "cpu")
    asked = Reward(backend="upstream", interpreter=str(tmp_path / "other"))
    with pytest.raises(UserError, match=r"got .*/other"):
        interpreter(asked)


def test_a_process_that_dies_is_reported(small, tmp_path):
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho first >&2\necho 'no module named x' >&2\nexit 3\n")
    python.chmod(0o755)
    with pytest.raises(RuntimeError, match=r"ended with status 3: \['no module named x'\]"):
        UpstreamReward(Reward(backend="upstream", interpreter=str(python)), small, "cpu")


def test_an_environment_without_the_package_is_the_users(small):
    """This one has no image-reward."""
    config = Reward(backend="upstream", interpreter=sys.executable)
    with pytest.raises(UserError, match=r"reward cannot be loaded.*No module named 'ImageReward'"):
        UpstreamReward(config, small, "cpu")
