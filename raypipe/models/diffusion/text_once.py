"""Projects the text once per picture instead of once per step.

Cross-attention projects the encoded text to keys and values in every layer and step, from the same
text with the same weights. The projections are kept while a pipeline runs: the same bits.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

Forward = Callable[[torch.Tensor], torch.Tensor]


@contextmanager
def text_projected_once(denoiser: torch.nn.Module) -> Iterator[None]:
    """Within it layers that read the text alone return their last output for the same text."""
    layers = [
        layer
        for name, layer in denoiser.named_modules()
        if name.endswith(("attn2.to_k", "attn2.to_v")) or name == "caption_projection"
    ]
    before = [vars(layer).get("forward") for layer in layers]  # offloading has its own there
    for layer in layers:
        layer.forward = _remembering(layer.forward)
    try:
        yield
    finally:
        for layer, forward in zip(layers, before, strict=True):
            del layer.forward
            if forward is not None:
                layer.forward = forward


def _remembering(forward: Forward) -> Forward:
    """`forward` that returns its last output again for the same tensor.

    The tensor is kept, so that its memory cannot be reused meanwhile.
    """
    kept: tuple[torch.Tensor, torch.Tensor] | None = None

    def remembered(text: torch.Tensor) -> torch.Tensor:
        nonlocal kept
        if kept is None or not _is_same(text, kept[0]):
            kept = text, forward(text)
        return kept[1]

    return remembered


def _is_same(one: torch.Tensor, other: torch.Tensor) -> bool:
    return (
        one.data_ptr() == other.data_ptr()
        and one.shape == other.shape
        and one.stride() == other.stride()
        and one.dtype == other.dtype
    )
