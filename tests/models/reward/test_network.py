"""The reward network's weights are all accounted for; training it is as upstream's was."""

from dataclasses import replace

import pytest
import torch

from raypipe.models.reward import load_upstream_state_dict
from raypipe.models.reward.keys import UNUSED, Geometry, geometry, port_name, upstream_names
from raypipe.models.reward.network import (
    RewardNetwork,
    new_network,
    upstream_state_dict,
)
from tests.support import reward_files
from tests.support import reward_recipe as recipe

SMALL = replace(reward_files.SMALL, vocabulary=50, positions=16)


@pytest.fixture
def state():
    return recipe.state_dict(1, {**recipe.TINY, "vocab": 50, "maxpos": 16})


@pytest.fixture
def inputs():
    torch.manual_seed(0)
    mask = torch.tensor([[1, 1, 1, 0], [1, 1, 1, 1]])
    return torch.randn(2, 3, 32, 32), torch.randint(50, (2, 4)), mask


def test_names_are_those_of_the_published_file_and_of_the_network():
    published = recipe.shapes(recipe.FULL)
    assert len(published) == 625
    assert set(upstream_names(24, 12)) == set(published) - UNUSED
    with torch.device("meta"):
        network = RewardNetwork(Geometry())
    shapes = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    expected = {port_name(n): shape for n, shape in published.items() if n not in UNUSED}
    assert shapes == expected
    assert sum(parameter.numel() for parameter in network.parameters()) == sum(
        torch.Size(shape).numel() for shape in expected.values()
    )


def test_sizes_are_read_off_the_tensors(state):
    sizes = {**vars(SMALL), "vision_mlp": 192}
    assert vars(geometry(state, (4, 3))) == sizes


@pytest.mark.parametrize("part", ["parameters", "buffers"])
def test_nothing_is_left_without_a_value(state, part):
    network = load_upstream_state_dict(state, (4, 3))
    assert not network.training
    assert not any(tensor.is_meta for tensor in getattr(network, part)())


def test_every_key_counts(state):
    for name in upstream_names(3, 3):
        without = {key: value for key, value in state.items() if key != name}
        with pytest.raises(ValueError, match=f"missing {name}$"):
            load_upstream_state_dict(without, (4, 3))


def test_what_no_reward_depends_on_may_be_missing(state):
    for name in UNUSED:
        del state[name]
    load_upstream_state_dict(state, (4, 3))


def test_missing_and_foreign_keys_are_all_named(state):
    del state["mlp.layers.7.bias"], state["blip.visual_encoder.blocks.1.norm1.bias"]
    state |= {"blip.text_encoder.pooler.dense.bias": torch.zeros(1), "mlp.layers.1.bias": 0}
    told = (
        "missing blip.visual_encoder.blocks.1.norm1.bias, mlp.layers.7.bias; "
        "foreign blip.text_encoder.pooler.dense.bias, mlp.layers.1.bias"
    )
    with pytest.raises(ValueError, match=told):
        load_upstream_state_dict(state, (4, 3))


@pytest.mark.parametrize(
    ("name", "wrong", "told"),
    [
        ("mlp.layers.4.weight", torch.zeros(64, 127), r"shape \(64, 128\), got .*\(64, 127\)"),
        ("mlp.layers.4.weight", torch.zeros(64), r"got torch.float32 of \(64,\)"),
        ("mlp.layers.7.bias", torch.zeros(1, dtype=torch.int64), "must hold floats"),
        ("blip.visual_encoder.pos_embed", torch.zeros(1, 19, 48), "square of patches, got 18"),
        ("blip.visual_encoder.pos_embed", torch.zeros(19, 48), "must have 3 dimensions"),
        ("blip.visual_encoder.cls_token", torch.zeros(1, 1, 47), "cls_token must hold floats"),
    ],
)
def test_a_wrong_tensor_is_named(state, name, wrong, told):
    with pytest.raises(ValueError, match=told):
        load_upstream_state_dict({**state, name: wrong}, (4, 3))


def test_heads_must_divide_the_widths(state):
    with pytest.raises(ValueError, match="vision heads must divide the width 48, got 5"):
        load_upstream_state_dict(state, (5, 3))
    with pytest.raises(ValueError, match="text heads must divide the width 36, got 0"):
        load_upstream_state_dict(state, (4, 0))


def test_weights_are_copied_and_come_back_by_their_names(state):
    network = load_upstream_state_dict(state, (4, 3))
    kept = {name: tensor.clone() for name, tensor in state.items()}
    back = upstream_state_dict(network)
    assert set(back) == set(state) - UNUSED
    assert all(torch.equal(back[name], state[name]) for name in back)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
    assert all(torch.equal(state[name], kept[name]) for name in state)


def test_padding_changes_nothing(state, inputs):
    network = load_upstream_state_dict(state, (4, 3)).double()
    pixels, ids, mask = inputs
    told = network(pixels.double(), ids, mask)
    ids[0, 3] = 7
    assert torch.equal(network(pixels.double(), ids, mask), told)
    mask[0, 3] = 1
    assert not torch.allclose(network(pixels.double(), ids, mask), told)


def test_training_drops_out_and_evaluation_does_not(inputs):
    torch.manual_seed(0)
    network = new_network(SMALL)
    assert torch.equal(network(*inputs), network(*inputs))
    network.train()
    assert not torch.equal(network(*inputs), network(*inputs))
    rates = [layer.drop_path.p for layer in network.vision.encoder.layers]
    assert rates == pytest.approx([0, 0.05, 0.1])
    dropouts = {name: m.p for name, m in network.named_modules() if type(m) is torch.nn.Dropout}
    assert {p for name, p in dropouts.items() if name.startswith("text.")} == {0.1}
    assert [p for name, p in dropouts.items() if name.startswith("mlp.")] == [0.2, 0.2, 0.1]


def test_a_dropped_path_leaves_the_picture_as_it_was():
    torch.manual_seed(0)
    layer = new_network(SMALL).vision.encoder.layers[2].train()
    layer.drop_path.p = 0.5
    x = torch.randn(400, 2, 48)
    change = (layer(x) - x).flatten(1).norm(dim=1)
    assert 70 < int((change == 0).sum()) < 130  # a quarter drops both branches


def test_text_attention_drops_out_in_training():
    torch.manual_seed(0)
    attention = new_network(SMALL).text.encoder.layer[0].attention.self
    x = torch.randn(1, 5, 36)
    attention.dropout.p = 0.5
    assert torch.equal(attention(x)[0], attention(x)[0])
    attention.train()
    assert not torch.equal(attention(x)[0], attention(x)[0])


def test_checkpointed_gradients_are_the_same(inputs):
    torch.manual_seed(0)
    network = new_network(SMALL).train()
    gradients = []
    for enabled in (False, True, False):
        network.checkpoint_gradients(enabled)
        network.zero_grad()
        torch.manual_seed(3)
        network(*inputs).sum().backward()
        gradients.append([parameter.grad.clone() for parameter in network.parameters()])
    for plain, checkpointed, again in zip(*gradients, strict=True):
        assert torch.allclose(plain, checkpointed, rtol=1e-5, atol=1e-8)
        assert torch.equal(plain, again)


def test_checkpointing_computes_layers_twice(inputs):
    network = new_network(SMALL).train()
    calls = []
    for part in (
        network.vision.encoder.layers[0].self_attn,
        network.text.encoder.layer[0].attention,
    ):
        part.register_forward_hook(lambda *_: calls.append(1))
    network.checkpoint_gradients()
    network(*inputs).sum().backward()
    assert len(calls) == 4


def test_the_first_layers_freeze():
    with torch.device("meta"):
        network = RewardNetwork(Geometry())
    network.freeze_first_layers(0.7)
    learns = {n for n, parameter in network.named_parameters() if parameter.requires_grad}
    layers = {name.split(".")[3] for name in learns if name.startswith("vision.encoder.layers.")}
    assert layers == {str(i) for i in range(16, 24)}
    layers = {name.split(".")[3] for name in learns if name.startswith("text.encoder.layer.")}
    assert layers == {str(i) for i in range(8, 12)}
    assert "vision.post_layernorm.weight" in learns
    assert not any(".embeddings." in name for name in learns)
    assert {name for name in learns if name.startswith("mlp.")} == {
        f"mlp.layers.{i}.{kind}" for i in (0, 2, 4, 6, 7) for kind in ("weight", "bias")
    }


@pytest.mark.parametrize(("share", "learns"), [(0, 1.0), (1, 0.0)])
def test_none_or_all_layers_freeze(share, learns):
    network = new_network(SMALL)
    network.freeze_first_layers(share)
    encoders = [*network.vision.parameters(), *network.text.parameters()]
    assert sum(p.requires_grad for p in encoders) == learns * len(encoders)
    assert all(parameter.requires_grad for parameter in network.mlp.parameters())


def test_a_share_is_from_0_to_1():
    with pytest.raises(ValueError, match="from 0 to 1, got 70"):
        new_network(SMALL).freeze_first_layers(70)


def test_a_new_network_begins_as_upstreams_does():
    torch.manual_seed(0)
    network = new_network(SMALL)
    assert not any(parameter.is_meta for parameter in network.parameters())
    assert float(network.mlp.layers[0].weight.detach().std()) == pytest.approx(1 / 37, rel=0.02)
    assert float(network.vision.encoder.layers[0].mlp.fc1.weight.detach().std()) == pytest.approx(
        0.02, rel=0.05
    )
    assert float(network.text.embeddings.LayerNorm.weight.detach().min()) == 1
    torch.manual_seed(0)
    again = new_network(SMALL)
    assert all(
        torch.equal(a, b) for a, b in zip(network.parameters(), again.parameters(), strict=True)
    )
