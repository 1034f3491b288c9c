"""The reward network of ImageReward and Face Score: a picture and a text to one number.

A ViT-L/16 sees the picture, a BERT reads the text and attends to the picture, and a linear head
reads the number off the text's first token (Xu et al. 2023, arXiv 2304.05977; the layout of
github.com/THUDM/ImageReward). Built from transformers' BLIP classes; equal to the package
image-reward 1.5 to float rounding (tests/models/reward/test_golden.py).
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint
from transformers import BlipTextConfig, BlipVisionConfig
from transformers.models.blip.modeling_blip import BlipVisionModel
from transformers.models.blip.modeling_blip_text import BlipTextModel

from raypipe.models.reward.attention import TextAttention, VisionLayer
from raypipe.models.reward.keys import Geometry, geometry, port_name, upstream_names

DROP_PATH = 0.1
"""Of the last vision layer; from 0 at the first it grows evenly (upstream's blip.create_vit)."""

TEXT_DROPOUT = 0.1
"""Of hidden states and of attention (upstream's med_config.json)."""

HEAD = ((1024, 0.2), (128, 0.2), (64, 0.1), (16, 0.0), (1, 0.0))
"""Width of each layer of the head, and the dropout after it; no activations between."""


class RewardNetwork(nn.Module):
    """The network without its weights, which `load_upstream_state_dict` and `new_network` bring."""

    def __init__(self, sizes: Geometry):
        super().__init__()
        self.sizes = sizes
        self.vision = _vision(sizes)
        self.text = _text(sizes)
        self.mlp = _Head(sizes.text_width)

    def forward(
        self, pixel_values: torch.Tensor, input_ids: torch.Tensor, attention_mask: torch.Tensor
    ) -> torch.Tensor:
        """Raw head outputs (B,), neither shifted nor scaled; larger is better.

        `pixel_values` (B, 3, image, image) are normalised as CLIP's; `input_ids` and
        `attention_mask` (B, tokens) hold each text, padded, the first token read by the head.
        """
        # Called as an encoder (text attends both ways), although its config is a decoder's.
        attended = self.text(
            input_ids,
            attention_mask=attention_mask,
            encoder_hidden_states=self.vision(pixel_values).last_hidden_state,
            is_decoder=False,
        )
        return self.mlp(attended.last_hidden_state[:, 0]).squeeze(1)

    def checkpoint_gradients(self, enabled: bool = True) -> None:
        """Whether training computes each layer again on the way back, to save memory."""
        function = partial(checkpoint, use_reentrant=False)
        for layer in (*self.vision.encoder.layers, *self.text.encoder.layer):
            # transformers' switch on a whole model refuses BLIP's text model
            layer.gradient_checkpointing = enabled
            layer._gradient_checkpointing_func = function

    def freeze_first_layers(self, share: float) -> None:
        """Exclude from training the first `share` (0 to 1) of both encoders' layers.

        With them go the embeddings below; the head always learns. ImageReward was trained with
        0.7: 16 of 24 vision and 8 of 12 text layers. (Upstream's loop stops after the first
        tensor of the next layer, so that one freezes too; here a layer is frozen or it is not.)
        With 1, both encoders are frozen whole; with 0, nothing is.
        """
        if not 0 <= share <= 1:
            raise ValueError(f"the frozen share must be from 0 to 1, got {share}")
        towers = ((self.vision, self.vision.encoder.layers), (self.text, self.text.encoder.layer))
        for tower, layers in towers:
            count = int(len(layers) * share)
            frozen = [tower.embeddings, *layers[:count]] if share else []
            for part in [tower] if share == 1 else frozen:
                part.requires_grad_(False)


def load_upstream_state_dict(
    state: Mapping[str, torch.Tensor], heads: tuple[int, int] = (16, 12)
) -> RewardNetwork:
    """The network with upstream's weights, of which it keeps a copy, in evaluation mode.

    Sizes are read off the tensors; `heads` (vision, text) cannot be. Raises ValueError, with
    their names, for missing and foreign keys, and for tensors of a wrong shape or type.
    """
    sizes = geometry(state, heads)
    with torch.device("meta"):
        network = RewardNetwork(sizes)
    shapes = {name: tensor.shape for name, tensor in network.state_dict().items()}
    tensors = {}
    for name in upstream_names(sizes.vision_layers, sizes.text_layers):
        tensor, expected = state[name], shapes[port_name(name)]
        if tensor.shape != expected or not tensor.is_floating_point():
            raise ValueError(
                f"{name} must hold floats of shape {tuple(expected)}, got {tensor.dtype} of "
                f"{tuple(tensor.shape)}"
            )
        tensors[port_name(name)] = tensor.detach().clone()
    network.load_state_dict(tensors, assign=True)
    _number_positions(network)
    return network.eval()


def upstream_state_dict(network: RewardNetwork) -> dict[str, torch.Tensor]:
    """The network's weights under upstream's names; what `load_upstream_state_dict` takes."""
    ours = network.state_dict()
    sizes = network.sizes
    names = upstream_names(sizes.vision_layers, sizes.text_layers)
    return {name: ours[port_name(name)] for name in names}


def new_network(sizes: Geometry) -> RewardNetwork:
    """A network with random weights, drawn as upstream's are, from torch's global generator."""
    with torch.device("meta"):
        network = RewardNetwork(sizes)
    network.to_empty(device="cpu")
    _number_positions(network)
    for name, parameter in network.named_parameters():
        if "norm" in name.lower() and name.endswith("weight"):
            nn.init.ones_(parameter)
        elif name.endswith("bias"):
            nn.init.zeros_(parameter)
        else:
            std = 1 / (sizes.text_width + 1) if name.startswith("mlp.") else 0.02
            nn.init.normal_(parameter, std=std)
    return network.eval()


def _vision(sizes: Geometry) -> BlipVisionModel:
    config = BlipVisionConfig(
        hidden_size=sizes.vision_width,
        intermediate_size=sizes.vision_mlp,
        num_hidden_layers=sizes.vision_layers,
        num_attention_heads=sizes.vision_heads,
        image_size=sizes.image,
        patch_size=sizes.patch,
        hidden_act="gelu",
        layer_norm_eps=1e-6,
    )
    model = BlipVisionModel(config)
    last = max(sizes.vision_layers - 1, 1)
    model.encoder.layers = nn.ModuleList(
        VisionLayer(config, DROP_PATH * i / last) for i in range(sizes.vision_layers)
    )
    return model


def _text(sizes: Geometry) -> BlipTextModel:
    config = BlipTextConfig(
        vocab_size=sizes.vocabulary,
        hidden_size=sizes.text_width,
        encoder_hidden_size=sizes.vision_width,
        intermediate_size=sizes.text_mlp,
        num_hidden_layers=sizes.text_layers,
        num_attention_heads=sizes.text_heads,
        max_position_embeddings=sizes.positions,
        hidden_act="gelu",
        layer_norm_eps=1e-12,
        hidden_dropout_prob=TEXT_DROPOUT,
        attention_probs_dropout_prob=TEXT_DROPOUT,
        is_decoder=True,  # without it there is no attention to the picture
        bos_token_id=None,  # nothing is written; BLIP's own may lie outside a small vocabulary
        eos_token_id=None,
    )
    model = BlipTextModel(config, add_pooling_layer=False)
    for layer in model.encoder.layer:
        layer.attention.self = TextAttention(config, is_cross_attention=False)
        layer.crossattention.self = TextAttention(config, is_cross_attention=True)
    return model


class _Head(nn.Module):
    """Linear layers with dropout between, at the indices of upstream's names."""

    def __init__(self, width: int):
        super().__init__()
        layers: list[Any] = []
        for size, dropout in HEAD:
            layers.append(nn.Linear(width, size))
            layers += [nn.Dropout(dropout)] if dropout else []
            width = size
        self.layers = nn.Sequential(*layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)


def _number_positions(network: RewardNetwork) -> None:
    """The one buffer that no weights file holds."""
    network.text.embeddings.position_ids = torch.arange(network.sizes.positions)[None]
