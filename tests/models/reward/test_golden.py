"""The reward network gives the numbers of the package image-reward 1.5; see reward_recipe.py."""

import json
from functools import cache

import numpy as np
import pytest
import torch

from raypipe.config.networks import RewardFacts
from raypipe.models.reward.input import preprocess
from raypipe.models.reward.keys import port_name
from raypipe.models.reward.network import load_upstream_state_dict
from tests.support import DATA
from tests.support import reward_recipe as recipe

TOLERANCE = {"float32": 1e-5, "float64": 1e-9}

FULL_SIZE = pytest.param("full", marks=pytest.mark.long)


@cache
def golden(size):
    """Upstream's record of a geometry, the network with the same weights, and its inputs."""
    record = json.loads((DATA / f"imagereward_{size}.json").read_text())
    sizes = recipe.GEOMETRY[size]
    state = recipe.state_dict(record["weight_seed"], sizes)
    assert recipe.digest(state) == record["weights_crc32"], "the recipe's weights differ"
    pictures = recipe.images(record["image_seed"], sizes["image"])
    assert int(pictures.sum(dtype=torch.int64)) == record["images_sum"]
    ids, mask = recipe.tokens()
    assert ids.tolist() == record["input_ids"]
    network = load_upstream_state_dict(state, recipe.HEADS[size])
    return record, network, (recipe.normalise(pictures), ids, mask)


@pytest.fixture(scope="module", autouse=True)
def _let_go_of_the_full_size():
    yield
    golden.cache_clear()


@pytest.mark.parametrize("size", ["tiny", FULL_SIZE])
def test_rewards_are_upstreams(size):
    record, network, inputs = golden(size)
    with torch.inference_mode():
        raw = network.float()(*inputs)
    assert raw.shape == (4,)
    assert raw.dtype == torch.float32
    close(raw, record["float32"]["mlp_unnormalised"], 1e-5)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("size", ["tiny", FULL_SIZE])
def test_rewards_and_gradients_are_upstreams(size, dtype):
    record, network, (pixels, ids, mask) = golden(size)
    expected, tolerance = record[dtype], TOLERANCE[dtype]
    network.to(getattr(torch, dtype))
    pixels = pixels.to(getattr(torch, dtype)).requires_grad_()
    names = [name for name in expected["grad_norm"] if name != "pixel_values"]
    weights = [network.get_parameter(port_name(name)) for name in names]
    raw = network(pixels, ids, mask)
    close(raw.detach(), expected["mlp_unnormalised"], tolerance)
    gradients = torch.autograd.grad(raw.sum() / record["std"], [pixels, *weights])
    for name, gradient in zip(("pixel_values", *names), gradients, strict=True):
        norm = expected["grad_norm"][name]
        assert float(gradient.double().norm()) == pytest.approx(norm, rel=tolerance)
        if name in names:
            close(gradient.flatten()[:4], expected["grad_first4"][name], tolerance * norm)
    rows = gradients[0].double().flatten(1).norm(dim=1)
    assert rows.tolist() == pytest.approx(expected["pixel_grad_norm_per_row"], rel=tolerance)


def test_face_scores_are_upstreams_and_the_same_in_any_batch():
    record, network, (pixels, ids, mask) = golden("tiny")
    network.double()
    pixels = pixels.double()
    with torch.inference_mode():
        together = network(pixels, ids[:1].expand(4, -1), mask[:1].expand(4, -1))
        alone = network(pixels[2:3], ids[:1], mask[:1])
        unpadded = network(pixels[2:3], ids[:1, :5], mask[:1, :5])
    close(together, record["float64"]["facescore_rewards"], 1e-9)
    close(alone, together[2:3], 1e-12)
    close(unpadded, together[2:3], 1e-12)


def test_standardized_rewards_are_upstreams():
    record, _, _ = golden("tiny")
    facts = RewardFacts(kind="image_reward")
    assert (facts.mean, facts.std) == (record["mean"], record["std"])
    raw = np.array(record["float64"]["mlp_unnormalised"])
    assert np.allclose((raw - facts.mean) / facts.std, record["float64"]["rewards"], atol=1e-12)


def preprocessed() -> list[dict]:
    return json.loads((DATA / "imagereward_preprocess.json").read_text())["cases"]


@pytest.mark.parametrize("case", preprocessed(), ids=lambda c: f"{c['mode']}-{c['width']}")
def test_pictures_of_all_sizes_and_modes_are_seen_as_upstream_sees_them(case):
    seed = json.loads((DATA / "imagereward_preprocess.json").read_text())["seed"]
    seen = preprocess(recipe.picture(seed, case["mode"], case["width"], case["height"]))
    assert list(seen.shape) == case["shape"]
    places = ((0, 0), (0, 223), (111, 112), (223, 0), (223, 223))
    points = [float(seen[c, y, x]) for c in range(3) for y, x in places]
    assert points == pytest.approx(case["points"], abs=1e-6)
    assert float(seen.double().sum()) == pytest.approx(case["sum"], rel=1e-9)
    assert float(seen.double().norm()) == pytest.approx(case["norm"], rel=1e-9)


def close(got, expected, tolerance):
    expected = torch.as_tensor(expected, dtype=torch.float64)
    assert float((got.double() - expected).abs().max()) < tolerance
