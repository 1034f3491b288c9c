"""The pairwise loss against the closed forms that torch has."""

import math

import pytest
import torch
from torch.nn import functional

from raypipe.core.ranking_loss import ranking_loss


@pytest.fixture
def scores():
    generator = torch.Generator().manual_seed(0)
    make = {"generator": generator, "dtype": torch.float64, "requires_grad": True}
    return torch.randn(9, **make), torch.randn(9, **make)


def test_the_loss_is_a_cross_entropy_between_two(scores):
    good, bad = scores
    loss = ranking_loss(good, bad).mean()
    first = torch.zeros(9, dtype=torch.long)
    assert loss.item() == pytest.approx(
        functional.cross_entropy(torch.stack([good, bad], dim=1), first).item(), abs=1e-12
    )
    ones = torch.ones(9, dtype=torch.float64)
    binary = functional.binary_cross_entropy_with_logits(good - bad, ones)
    assert loss.item() == pytest.approx(binary.item(), abs=1e-12)


def test_the_gradient_is_minus_the_chance_of_the_wrong_choice(scores):
    good, bad = scores
    ranking_loss(good, bad).mean().backward()
    expected = -torch.sigmoid(bad - good).detach() / 9
    assert torch.allclose(good.grad, expected, atol=1e-12)
    assert torch.allclose(bad.grad, -expected, atol=1e-12)


def test_a_score_that_tells_nothing_sits_at_ln_2():
    assert ranking_loss(torch.zeros(4), torch.zeros(4)).mean().item() == pytest.approx(math.log(2))


def test_far_apart_scores_stay_finite():
    good = torch.tensor([1000.0, -1000.0], requires_grad=True)
    loss = ranking_loss(good, -good).mean()
    loss.backward()
    assert loss.item() == pytest.approx(1000)
    assert good.grad.tolist() == pytest.approx([0, -1])


def test_shapes_that_would_broadcast_are_refused():
    with pytest.raises(ValueError, match="each good score needs a bad one"):
        ranking_loss(torch.zeros(4), torch.zeros(4, 1))
