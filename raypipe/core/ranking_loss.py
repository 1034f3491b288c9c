"""The loss that teaches a score which of two pictures is the better one."""

import torch
from torch.nn import functional


def ranking_loss(good_B: torch.Tensor, bad_B: torch.Tensor) -> torch.Tensor:
    """-log σ(r_good - r_bad) of each pair, (B,) and (B,) → (B,).

    The Bradley-Terry likelihood: σ(r_good - r_bad) is the chance that the good one is chosen. An
    uninformative score has a loss of ln 2. Written as softplus(r_bad - r_good), which neither
    overflows nor loses its gradient. ValueError for shapes that differ: broadcasting would make
    pairs that do not exist.
    """
    if good_B.shape != bad_B.shape:
        raise ValueError(
            f"each good score needs a bad one, got {tuple(good_B.shape)} and {tuple(bad_B.shape)}"
        )
    return functional.softplus(bad_B - good_B)
