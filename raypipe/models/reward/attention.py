"""Transformers' BLIP layers with PyTorch's fused attention, and with ImageReward's drop path.

transformers (5.23) has only the written-out attention for BLIP: asked for another one it refuses,
and forced to it, it misapplies the padding mask. These take the masks that it makes for its own.

Letters: B batch, H heads, T query tokens, D width of a head.
"""

from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from torchvision.ops import StochasticDepth
from transformers.models.blip.configuration_blip import BlipVisionConfig
from transformers.models.blip.modeling_blip import BlipAttention, BlipEncoderLayer
from transformers.models.blip.modeling_blip_text import BlipTextSelfAttention


class VisionAttention(BlipAttention):
    """Attention of every patch to every patch."""

    def forward(self, hidden_states: torch.Tensor, **kwargs: Any) -> tuple[torch.Tensor, None]:
        """(B, T, width) to the same; no attention map is kept."""
        batch, tokens, width = hidden_states.shape
        qkv = self.qkv(hidden_states).view(batch, tokens, 3, self.num_heads, self.head_dim)
        query_BHTD, key_BHTD, value_BHTD = qkv.permute(2, 0, 3, 1, 4)
        dropout = self.dropout.p if self.training else 0.0
        mixed = scaled_dot_product_attention(query_BHTD, key_BHTD, value_BHTD, dropout_p=dropout)
        return self.projection(mixed.transpose(1, 2).reshape(batch, tokens, width)), None


class VisionLayer(BlipEncoderLayer):
    """A layer of the vision transformer that in training skips each branch at random.

    `drop_path` is the probability with which a picture skips a branch.
    """

    def __init__(self, config: BlipVisionConfig, drop_path: float):
        super().__init__(config)
        self.self_attn = VisionAttention(config)
        self.drop_path = StochasticDepth(drop_path, "row")

    def forward(self, hidden_states: torch.Tensor, **kwargs: Any) -> torch.Tensor:
        """(B, T, width) to the same."""
        attended, _ = self.self_attn(self.layer_norm1(hidden_states))
        hidden_states = hidden_states + self.drop_path(attended)
        return hidden_states + self.drop_path(self.mlp(self.layer_norm2(hidden_states)))


class TextAttention(BlipTextSelfAttention):
    """Attention of the text to itself, or (`encoder_hidden_states` given) to the picture."""

    def forward(
        self,
        hidden_states: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        encoder_hidden_states: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> tuple[torch.Tensor, None]:
        """(B, T, width) to the same; the mask (B, 1, T or 1, T) is added to the logits.

        The mask is the text's: all patches of a picture are attended to.
        """
        crosses = encoder_hidden_states is not None
        source = encoder_hidden_states if crosses else hidden_states
        mixed = scaled_dot_product_attention(
            self._heads(self.query(hidden_states)),
            self._heads(self.key(source)),
            self._heads(self.value(source)),
            attn_mask=None if crosses else attention_mask,
            dropout_p=self.dropout.p if self.training else 0.0,
        )
        return mixed.transpose(1, 2).reshape(hidden_states.shape), None

    def _heads(self, x: torch.Tensor) -> torch.Tensor:
        """(B, T, H·D) to (B, H, T, D)."""
        return x.unflatten(-1, (self.num_attention_heads, self.attention_head_size)).transpose(1, 2)
