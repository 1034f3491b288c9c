"""The loss that teaches a score which of two pictures is the better one."""

import torch
from torch.nn import functional


def ranking_loss(good_B: torch.Tensor, bad_B: torch.Tensor) -> torch.Tensor:
    """Mean over pairs of -log σ(r_good - r_bad), (B,) and (B,) → scalar.

    The Bradley-Terry likelihood: σ(r_good - r_bad) is the chance that the good one is chosen. A
    score that tells nothing sits at ln 2. Written as softplus(r_bad - r_good), which neither
    overflows nor loses its gradient. ValueError for shapes that differ: broadcasting would average
    over pairs that do not exist.
    """
    if good_B.shape != bad_B.shape:
        raise ValueError(
            f"each good score needs a bad one, got {tuple(good_B.shape)} and {tuple(bad_B.shape)}"
        )
    return functional.softplus(bad_B - good_B).mean()
