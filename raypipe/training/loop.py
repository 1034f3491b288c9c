"""The training loop: plain PyTorch, alone or as one of several workers, exact to resume.

What a step does depends on (seed, step) alone (`raypipe.core.batches`): neither on the number of
workers nor on how often the training was killed, but for the order in which floats are summed.
"""

import json
import math
import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn

from raypipe.config.training import Training
from raypipe.core.batches import Batches
from raypipe.storage.files import Folder
from raypipe.training import events, state
from raypipe.training.group import Group

STEPS, VALIDATIONS = "log/steps.jsonl", "log/validations.jsonl"
WRITE_LOG_S = 30.0
MOMENTS = ("exp_avg", "exp_avg_sq")
"""AdamW's state of a parameter."""
AHEAD = 2
"""Micro-batches that are read before they are needed."""

Work = tuple[int, int, Any]
"""Step, seed, and what the task loaded."""


class Task(Protocol):
    """What is trained, and on what."""

    module: nn.Module
    """On its device, in train mode; what requires a gradient is trained and kept."""
    n_rows: int
    """Rows of the training table."""
    device: str

    def load(self, rows: np.ndarray, seed: int) -> Any:
        """Read and prepare a micro-batch; runs in a thread of its own, with a seed of its own."""
        ...

    def losses(self, batch: Any) -> dict[str, torch.Tensor]:
        """Numbers (B,) of each row of what `load` returned; `loss` is what is minimised."""
        ...

    def validate(self, rank: int, world: int) -> dict[str, tuple[float, float]]:
        """(sum, count) by name, over this worker's share of the validation rows."""
        ...

    def finish(self, outcome: "Outcome", group: Group, folder: Folder) -> None:
        """Called on all workers after the last step; only the first writes to `folder`."""
        ...


@dataclass(frozen=True)
class Outcome:
    """How a training ended."""

    step: int
    best: int | None
    """Step of the best checkpoint."""
    stopped: str | None = None
    """Why it ended before its last step; None where it did not."""

    @property
    def result(self) -> int:
        """Step of the checkpoint that the training is about: the best one, else the last."""
        return self.step if self.best is None else self.best


def learning_rate(plan: Training, step: int) -> float:
    """The rate of a step: a linear warm-up, then half a cosine down to zero at the end."""
    if step < plan.warmup:
        return plan.lr * (step + 1) / plan.warmup
    share = (step - plan.warmup) / max(plan.steps - plan.warmup, 1)
    return plan.lr * 0.5 * (1 + math.cos(math.pi * share))


class Trainer:
    """One process of a training."""

    def __init__(
        self, task: Task, plan: Training, folder: Folder, *, best: str, group: Group | None = None
    ):
        """best: name of the validation number, higher is better, that picks the best step."""
        self.task, self.plan, self.folder = task, plan, folder
        self.group, self._criterion = group or Group(), best
        self.batches = Batches(task.n_rows, plan.batch, plan.micro_batch, plan.seed)
        self.trained = {n: p for n, p in task.module.named_parameters() if p.requires_grad}
        self.optimiser = torch.optim.AdamW(
            self.trained.values(), lr=plan.lr, betas=plan.betas, weight_decay=plan.weight_decay
        )
        self.average = {n: p.detach().clone() for n, p in self.trained.items() if plan.ema}
        """The running average of what is trained; empty without one."""
        self.lines: list[dict[str, Any]] = []
        self.validations: list[dict[str, Any]] = []
        self.best: tuple[float, int] | None = None
        self._written = time.monotonic()
        self._exported = 0, 0
        """Lines of both logs that TensorBoard's files hold already."""

    def run(self) -> Outcome:
        """Train to the last step, from the newest checkpoint if there is one."""
        first = self._restore()
        stopped = None
        with ThreadPoolExecutor(1) as reader:
            for step, work in groupby(self._read_ahead(first, reader), key=lambda item: item[0]):
                line = self._step(step, work)
                if not (math.isfinite(line["loss"]) and math.isfinite(line["grad_norm"])):
                    stopped = f"the loss or its gradient is not finite at step {step}"
                    break
                self.lines.append(line)
                self._after(step + 1)
        self._write_logs(always=True)
        newest = max(state.steps(self.folder), default=0)
        return Outcome(newest, self.best[1] if self.best else None, stopped)

    def _read_ahead(self, first: int, reader: ThreadPoolExecutor) -> Iterator[Work]:
        """This worker's micro-batches, in order, read while those before them are computed."""
        ahead: deque[tuple[int, int, Future[Any]]] = deque()
        for step in range(first, self.plan.steps):
            for seed, rows in self.batches.share(step, self.group.rank, self.group.world):
                ahead.append((step, seed, reader.submit(self.task.load, rows, seed)))
                if len(ahead) > AHEAD:
                    step_, seed_, batch = ahead.popleft()
                    yield step_, seed_, batch.result()
        for step_, seed_, batch in ahead:
            yield step_, seed_, batch.result()

    def _step(self, step: int, work: Iterable[Work]) -> dict[str, float]:
        """One step; returns its line of the log. A step that is not finite changes no weight."""
        started = time.monotonic()
        rate = learning_rate(self.plan, step)
        for options in self.optimiser.param_groups:
            options["lr"] = rate
        for parameter in self.trained.values():
            parameter.grad = torch.zeros_like(parameter)
        totals = self._forward_backward(work)
        sums = torch.tensor(list(totals.values()), device=self.task.device)
        gradients = [p.grad for p in self.trained.values() if p.grad is not None]
        self.group.sum([*gradients, sums])
        numbers = dict(zip(totals, (sums / self.plan.batch).tolist(), strict=True))
        norm = float(nn.utils.clip_grad_norm_(self.trained.values(), self.plan.clip))
        if math.isfinite(norm) and math.isfinite(numbers["loss"]):
            self.optimiser.step()
            self._follow(step)
        seconds = round(time.monotonic() - started, 4)
        epoch = round(self.batches.epoch(step), 4)
        line = {"step": step, "epoch": epoch, **numbers, "lr": rate, "grad_norm": norm}
        return line | {"seconds": seconds}

    @torch.no_grad()
    def _follow(self, step: int) -> None:
        """Move the average towards the weights of a step."""
        decay = min(self.plan.ema, (1 + step) / (10 + step))
        for name, averaged in self.average.items():
            averaged.lerp_(self.trained[name], 1 - decay)

    @torch.no_grad()
    def _swap(self) -> None:
        """Put the average in the place of the weights, or back."""
        for name, averaged in self.average.items():
            weights = self.trained[name].clone()
            self.trained[name].copy_(averaged)
            averaged.copy_(weights)

    def _forward_backward(self, work: Iterable[Work]) -> dict[str, float]:
        """Add this worker's share to the gradients; returns its sums over rows, by name."""
        totals: dict[str, float] = {}
        kind = self.task.device.partition(":")[0]
        for _, seed, batch in work:
            torch.manual_seed(seed)
            with torch.autocast(kind, torch.bfloat16, enabled=self.plan.precision == "bfloat16"):
                numbers = self.task.losses(batch)
            (numbers["loss"].float().sum() / self.plan.batch).backward()
            for name, values_B in numbers.items():
                totals[name] = totals.get(name, 0.0) + float(values_B.detach().float().sum())
        return totals

    def _after(self, done: int) -> None:
        """Validate and keep a checkpoint where the plan asks for it, after `done` steps."""
        is_last, is_best = done == self.plan.steps, False
        if is_last or done % self.plan.validate_every == 0:
            is_best = self._validate(done)
        if is_last or is_best or done % self.plan.checkpoint_every == 0:
            self._write_logs(always=True)
            if self.group.rank == 0:
                state.write(self.folder, self._checkpoint(done))
                state.prune(self.folder, self.plan.keep, self.best[1] if self.best else None)
            self.group.gather(None)  # all wait until it is written
        else:
            self._write_logs(always=False)

    def _validate(self, done: int) -> bool:
        """Validate on all workers; returns whether this step is the best one so far."""
        self.task.module.eval()
        self._swap()
        with torch.inference_mode():
            share = self.task.validate(self.group.rank, self.group.world)
            numbers = dict(sorted(self.group.means(share).items()))
        self._swap()
        self.task.module.train()
        recent = [line["loss"] for line in self.lines[-self.plan.validate_every :]]
        self.validations.append({"step": done, "loss": float(np.mean(recent)), **numbers})
        value = numbers[self._criterion]
        if self.best is None or value > self.best[0]:
            self.best = value, done
            return True
        return False

    def _checkpoint(self, done: int) -> state.Checkpoint:
        tensors = {}
        for name, parameter in self.trained.items():
            tensors[f"weight/{name}"] = parameter
            for key in MOMENTS:
                tensors[f"{key}/{name}"] = self.optimiser.state[parameter][key]
        tensors |= {f"average/{name}": averaged for name, averaged in self.average.items()}
        return state.Checkpoint(done, tensors, {"best": self.best})

    def _restore(self) -> int:
        """Load the newest checkpoint; returns the number of steps done."""
        there = state.steps(self.folder)
        if not there:
            return 0
        kept = state.read(self.folder, there[-1])
        with torch.no_grad():
            for name, parameter in self.trained.items():
                parameter.copy_(kept.tensors[f"weight/{name}"])
                if name in self.average:
                    self.average[name].copy_(kept.tensors[f"average/{name}"])
                self.optimiser.state[parameter] = {
                    "step": torch.tensor(float(kept.step)),
                    **{key: kept.tensors[f"{key}/{name}"].to(parameter.device) for key in MOMENTS},
                }
        best = kept.notes["best"]
        self.best = (best[0], best[1]) if best else None
        self.lines = [line for line in read_log(self.folder, STEPS) if line["step"] < kept.step]
        validated = read_log(self.folder, VALIDATIONS)
        self.validations = [line for line in validated if line["step"] <= kept.step]
        self._exported = len(self.lines), len(self.validations)
        return kept.step

    def _write_logs(self, always: bool) -> None:
        """Rewrite both logs (an object store cannot append); export new lines to TensorBoard."""
        now = time.monotonic()
        if self.group.rank != 0 or not (always or now - self._written > WRITE_LOG_S):
            return
        for name, lines in ((STEPS, self.lines), (VALIDATIONS, self.validations)):
            text = "".join(json.dumps(line) + "\n" for line in lines)
            self.folder.write(name, text.encode())
        if always:
            n_steps, n_validations = self._exported
            events.write(self.folder, self.lines[n_steps:], self.validations[n_validations:])
            self._exported = len(self.lines), len(self.validations)
        self._written = now


def read_log(folder: Folder, name: str) -> list[dict[str, Any]]:
    """The lines of a training's log, STEPS or VALIDATIONS."""
    return [json.loads(line) for line in (folder.read(name) or b"").splitlines()]


def train(task: Task, plan: Training, folder: Folder, best: str, group: Group) -> Outcome:
    """One worker's part."""
    outcome = Trainer(task, plan, folder, best=best, group=group).run()
    if outcome.stopped is None:
        task.finish(outcome, group, folder)
    return outcome
