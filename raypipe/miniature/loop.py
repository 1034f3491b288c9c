"""The training loop that every part shares: AdamW, warm-up and decay, EMA, restartable.

A batch is a function of the step alone, so a run that was stopped and started again sees the
pictures that an undisturbed one would have seen.
"""

import logging
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from .settings import Plan

log = logging.getLogger(__name__)


_SAVE_EVERY_S = 60.0
_LOG_EVERY_S = 20.0


def rate(plan: Plan, step: int) -> float:
    """The learning rate of a step, as a share of the plan's: up, level, then down to zero."""
    left = (plan.steps - step) / max(plan.decay * plan.steps, 1)
    return min(1.0, (step + 1) / plan.warmup, left)


class Ema:
    """A moving average of a module's parameters; young averages forget faster."""

    def __init__(self, module: nn.Module, decay: float):
        self.decay = decay
        self.shadow = [p.detach().clone() for p in module.parameters()]

    @torch.no_grad()
    def update(self, module: nn.Module, step: int):
        keep = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(self.shadow, [p.detach() for p in module.parameters()], 1 - keep)

    @torch.no_grad()
    def copy_to(self, module: nn.Module):
        for parameter, average in zip(module.parameters(), self.shadow, strict=True):
            parameter.copy_(average)


def train(
    module: nn.Module,
    loss_of: Callable[[int, torch.Generator], torch.Tensor],
    plan: Plan,
    checkpoint: Path,
) -> nn.Module:
    """Train in place and leave the module with its averaged weights.

    `loss_of(step, generator)` gives the loss of a step's own batch. An existing checkpoint is
    resumed.
    """
    trained = [p for p in module.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(
        trained, lr=plan.lr, betas=(0.9, 0.99), weight_decay=plan.weight_decay
    )
    ema = Ema(module, plan.ema)
    first = _restore(checkpoint, module, optimiser, ema) if checkpoint.exists() else 0
    saved = logged = time.monotonic()
    losses: list[float] = []
    for step in range(first, plan.steps):
        for group in optimiser.param_groups:
            group["lr"] = plan.lr * rate(plan, step)
        optimiser.zero_grad(set_to_none=True)
        with sdpa_kernel(SDPBackend.MATH):  # the fused kernel's backward is slow on a CPU
            seed = plan.seed * 1_000_003 + step
            loss = loss_of(step, torch.Generator().manual_seed(seed))
            loss.backward()
        nn.utils.clip_grad_norm_(trained, plan.clip)
        optimiser.step()
        ema.update(module, step)
        losses.append(loss.item())
        now = time.monotonic()
        if now - logged > _LOG_EVERY_S:
            mean, seconds = sum(losses) / len(losses), (now - logged) / len(losses)
            log.info("step %d loss %.4f, %.3f s a step", step + 1, mean, seconds)
            logged, losses = now, []
        if now - saved > _SAVE_EVERY_S or step + 1 == plan.steps:
            _save(checkpoint, module, optimiser, ema, step + 1)
            saved = now
    ema.copy_to(module)
    return module.eval()


def _restore(path: Path, module: nn.Module, optimiser: torch.optim.Optimizer, ema: Ema) -> int:
    """Load a checkpoint; returns its number of steps."""
    state = torch.load(path, weights_only=True)
    module.load_state_dict(state["module"])
    optimiser.load_state_dict(state["optimiser"])
    ema.shadow = state["ema"]
    return state["step"]


def _save(path: Path, module: nn.Module, optimiser: torch.optim.Optimizer, ema: Ema, step: int):
    path.parent.mkdir(parents=True, exist_ok=True)
    state = {
        "module": module.state_dict(),
        "optimiser": optimiser.state_dict(),
        "ema": ema.shadow,
        "step": step,
    }
    torch.save(state, path.with_suffix(".part"))
    path.with_suffix(".part").replace(path)
