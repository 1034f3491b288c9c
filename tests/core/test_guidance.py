"""The losses on pairs, against the step written out, autograd, and their limits."""

import math

import pytest
import torch

from raypipe.core import guidance
from raypipe.core.guidance import Level

BOTH = pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
FORMS = pytest.mark.parametrize("stride", [50, 200, 1000])
"""1000 is the x_0 form: it ends before the first timestep."""

T_B = torch.tensor([0, 30, 260, 505, 700])
"""In every form the last one has κ < 1 for steps of 50 and κ > 1 for the x_0 form."""


def schedule() -> torch.Tensor:
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    return (1 - betas).cumprod(0)


@pytest.fixture
def rows():
    """Good, bad, noise, a soft mask and a network's output for five rows."""
    generator = torch.Generator().manual_seed(0)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    good = normal(5, 4, 6, 7)
    bad = good + normal(5, 4, 6, 7)
    mask = torch.rand(5, 1, 6, 7, generator=generator, dtype=torch.float64).clamp(min=0.3) - 0.3
    return good, bad, normal(5, 4, 6, 7), mask, normal(5, 4, 6, 7).requires_grad_()


def ddim_step(x_t, output, t, s, prediction):
    """The step from t to s of one row, by x̂_0 and ε̂; s below 0 is the clean picture."""
    bar_t = schedule()[t].item()
    bar_s = schedule()[s].item() if s >= 0 else 1.0
    a_t, sigma_t = math.sqrt(bar_t), math.sqrt(1 - bar_t)
    if prediction == "epsilon":
        clean, noise = (x_t - sigma_t * output) / a_t, output
    else:
        clean, noise = a_t * x_t - sigma_t * output, sigma_t * x_t + a_t * output
    return math.sqrt(bar_s) * clean + math.sqrt(1 - bar_s) * noise


def loss(rows, stride, prediction, output=None):
    good, bad, noise, mask, given = rows
    at, to = guidance.level(schedule(), T_B), guidance.level(schedule(), T_B - stride)
    output = given if output is None else output
    return guidance.guidance_loss(output, noise, good, bad, mask, at, to, prediction)


@BOTH
@FORMS
def test_the_closed_form_is_the_step_written_out(rows, stride, prediction):
    good, bad, noise, mask, output = rows
    told = loss(rows, stride, prediction)
    capped = 0
    for row, t in enumerate(T_B.tolist()):
        s = max(t - stride, -1)
        x_t = math.sqrt(schedule()[t]) * bad[row] + math.sqrt(1 - schedule()[t]) * noise[row]
        bar_s = schedule()[s].item() if s >= 0 else 1.0
        wanted = math.sqrt(bar_s) * good[row] + math.sqrt(1 - bar_s) * noise[row]
        error = ddim_step(x_t, output[row], t, s, prediction) - wanted
        area = mask[row].sum() * 4
        direct = ((mask[row] * error**2).sum() / area).item()
        # κ is minus the slope of the step in the output, whatever the formula
        one = torch.ones(1, dtype=torch.float64)
        slope = ddim_step(one, one, t, s, prediction) - ddim_step(one, 0 * one, t, s, prediction)
        kappa = abs(slope.item())
        capped += kappa > 1
        assert told[row].item() == pytest.approx(direct * min(1, 1 / kappa) ** 2, rel=1e-9)
    assert capped == (2 if stride == 1000 and prediction == "epsilon" else 0)


@BOTH
@FORMS
def test_its_gradient_is_that_of_the_step(rows, stride, prediction):
    """Autograd through the step, scaled as the bound says, against autograd of the closed form."""
    good, bad, noise, mask, output = rows
    loss(rows, stride, prediction).sum().backward()
    closed = output.grad.clone()
    output.grad = None
    at, to = guidance.level(schedule(), T_B), guidance.level(schedule(), T_B - stride)
    scale = guidance.guidance_scale(at, to, prediction)
    x_t = guidance.noised(bad, noise, at)
    steps = [
        ddim_step(x_t[row], output[row], t, max(t - stride, -1), prediction)
        for row, t in enumerate(T_B.tolist())
    ]
    error = torch.stack(steps) - guidance.noised(good, noise, to)
    weight = mask / mask.sum(dim=(1, 2, 3), keepdim=True) / 4
    (weight * (error / scale.clamp(min=1)) ** 2).sum().backward()
    assert torch.allclose(closed, output.grad, rtol=1e-9, atol=1e-12)
    assert closed.abs().max() > 0


@FORMS
def test_it_is_zero_at_its_own_target(rows, stride):
    good, bad, noise, _, _ = rows
    at, to = guidance.level(schedule(), T_B), guidance.level(schedule(), T_B - stride)
    kappa = (to.a * at.sigma - at.a * to.sigma) / at.a
    told = loss(rows, stride, "epsilon", noise + to.a / kappa * (bad - good))
    assert torch.allclose(told, torch.zeros_like(told), atol=1e-18)
    if stride == 1000:  # then it is the noise between the bad x_t and the good picture
        between = (guidance.noised(bad, noise, at) - at.a * good) / at.sigma
        assert torch.allclose(loss(rows, stride, "epsilon", between), told, atol=1e-18)


@BOTH
@FORMS
def test_of_equal_pictures_it_is_the_masked_denoising_loss_times_kappa_squared(
    rows, stride, prediction
):
    good, _, noise, mask, output = rows
    at, to = guidance.level(schedule(), T_B), guidance.level(schedule(), T_B - stride)
    told = loss((good, good, noise, mask, output), stride, prediction)
    error = output - guidance.target(good, noise, at, prediction)
    denoising = (mask * error**2).sum(dim=(1, 2, 3)) / (4 * mask.sum(dim=(1, 2, 3)))
    kappa = guidance.guidance_scale(at, to, prediction).flatten().clamp(max=1)
    assert torch.allclose(told, kappa**2 * denoising, rtol=1e-12)


@BOTH
def test_kappa_is_the_sine_of_the_angle_between_the_levels(prediction):
    at, to = guidance.level(schedule(), T_B), guidance.level(schedule(), T_B - 200)
    angle = torch.atan2(at.sigma, at.a) - torch.atan2(to.sigma, to.a)
    expected = angle.sin() / (at.a if prediction == "epsilon" else 1)
    assert torch.allclose(guidance.guidance_scale(at, to, prediction), expected)


@BOTH
def test_an_empty_mask_gives_nothing(rows, prediction):
    *_, mask, output = rows
    mask[2] = 0
    told = loss(rows, 50, prediction)
    assert told[2] == 0
    assert (told[[0, 1, 3, 4]] > 0).all()
    told.sum().backward()
    assert not output.grad[2].any()
    assert output.grad[1].any()


def test_a_mask_is_an_area():
    values, mask = torch.ones(1, 3, 2, 2), torch.tensor([[[[1.0, 0.5], [0.0, 0.0]]]])
    values[0, :, 0, 1] = 4.0
    assert guidance.masked_mean(values, mask).item() == pytest.approx((1 + 0.5 * 4) / 1.5)


def test_without_any_signal_nothing_overflows():
    """ᾱ = 0, as schedules that end in pure noise have it."""
    at = Level(torch.zeros(1, 1, 1, 1), torch.ones(1, 1, 1, 1))
    to = Level(torch.ones(1, 1, 1, 1), torch.zeros(1, 1, 1, 1))
    good, bad = torch.zeros(1, 4, 2, 2), torch.ones(1, 4, 2, 2)
    noise, output = torch.full_like(good, 2.0), torch.full_like(good, 5.0)
    mask = torch.ones(1, 1, 2, 2)
    # ε: BOUND (2 − 5), and nothing of the gap is left; v = −bad: (−1 − 5) + 1
    for prediction, expected in (("epsilon", 9.0), ("v_prediction", 25.0)):
        told = guidance.guidance_loss(output, noise, good, bad, mask, at, to, prediction)
        assert told.item() == pytest.approx(expected)
        weight = guidance.min_snr_weights(at, prediction)
        assert weight.item() == (1.0 if prediction == "epsilon" else 0.0)


@BOTH
def test_a_clean_end_is_reached_from_the_target(rows, prediction):
    """The true output of x_t leads back to x_0: targets and levels fit each other."""
    good, _, noise, _, _ = rows
    at = guidance.level(schedule(), T_B)
    output = guidance.target(good, noise, at, prediction)
    x_t = guidance.noised(good, noise, at)
    for row, t in enumerate(T_B.tolist()):
        assert torch.allclose(ddim_step(x_t[row], output[row], t, -1, prediction), good[row])


def test_levels_are_those_of_the_schedule():
    at = guidance.level(schedule(), torch.tensor([-1, -50, 0, 999]))
    assert at.a.flatten()[:2].tolist() == [1, 1]
    assert at.sigma.flatten()[:2].tolist() == [0, 0]
    assert at.a.flatten()[3].item() == pytest.approx(schedule()[999].sqrt().item())
    assert torch.allclose(at.a**2 + at.sigma**2, torch.ones_like(at.a))


def test_dpo_is_the_log_of_two_likelihoods():
    generator = torch.Generator().manual_seed(1)
    good, bad, base_good, base_bad = torch.rand(4, 6, generator=generator, dtype=torch.float64)
    beta = 40.0
    told = guidance.dpo_loss(good, bad, base_good, base_bad, beta)
    for row in range(6):
        # Bradley and Terry, of rewards β log(p / p_base) with p = exp(−error / 2)
        reward = [
            beta * (math.log(math.exp(-e / 2)) - math.log(math.exp(-b / 2)))
            for e, b in ((good[row], base_good[row]), (bad[row], base_bad[row]))
        ]
        chance = math.exp(reward[0]) / (math.exp(reward[0]) + math.exp(reward[1]))
        assert told[row].item() == pytest.approx(-math.log(chance), rel=1e-9)


def test_dpo_begins_at_ln_2():
    good, bad = torch.rand(5), torch.rand(5)
    assert guidance.dpo_loss(good, bad, good, bad, 5000).tolist() == pytest.approx(
        [math.log(2)] * 5
    )
    other = torch.rand(5)
    almost = guidance.dpo_loss(good, bad, other, bad, 1e-9)
    assert almost.tolist() == pytest.approx([math.log(2)] * 5)


def test_dpo_pulls_the_good_error_down_and_the_bad_one_up():
    good = torch.tensor([0.3], requires_grad=True)
    bad = torch.tensor([0.4], requires_grad=True)
    guidance.dpo_loss(good, bad, good.detach(), bad.detach(), 8.0).backward()
    assert good.grad.item() == pytest.approx(2.0)  # β / 2 times σ(0)
    assert bad.grad.item() == pytest.approx(-2.0)


@BOTH
def test_min_snr_weighs_the_error_of_the_clean_picture(rows, prediction):
    good, _, noise, _, output = rows
    at = guidance.level(schedule(), T_B)
    error = guidance.squared_error(output, guidance.target(good, noise, at, prediction))
    told = guidance.min_snr_weights(at, prediction) * error
    x_t = guidance.noised(good, noise, at)
    for row, t in enumerate(T_B.tolist()):
        snr = (schedule()[t] / (1 - schedule()[t])).item()
        clean = ddim_step(x_t[row], output[row], t, -1, prediction)
        of_clean = ((clean - good[row]) ** 2).mean().item()
        assert told[row].item() == pytest.approx(min(snr, 5.0) * of_clean, rel=1e-9)


def test_timesteps_are_uniform_and_spread():
    generator = torch.Generator().manual_seed(0)
    drawn = torch.stack([guidance.uniform_timesteps(8, 1000, generator) for _ in range(2000)])
    assert drawn.min() >= 0
    assert drawn.max() <= 999
    for share in drawn.sort(dim=1).values.T.unbind():  # one in each eighth
        assert share.max() - share.min() < 125
    each = torch.histc(drawn[:, 0].double(), bins=10, min=0, max=1000)
    assert (each - 200).abs().max() < 5 * math.sqrt(200)
