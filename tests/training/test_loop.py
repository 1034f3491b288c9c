"""The training loop: what it computes, and that neither kills nor workers change it."""

import math
import signal
import struct
import subprocess
from collections.abc import Iterator

import pytest
import torch
from tensorboardX.proto import event_pb2
from torch import nn

from raypipe.storage.files import Folder
from raypipe.training import events, state
from raypipe.training.loop import STEPS, VALIDATIONS, Trainer, learning_rate, read_log
from tests.support import processes
from tests.support.jobs import wait_for
from tests.support.train_toy import Toy, plan

TOY = "tests/support/train_toy.py"


def trainer(folder, task=None, **changes) -> Trainer:
    return Trainer(task or Toy(), plan(**changes), Folder(str(folder)), best="accuracy")


def losses(folder) -> list[float]:
    return [line["loss"] for line in read_log(Folder(str(folder)), STEPS)]


def weights(folder, step=60) -> dict[str, torch.Tensor]:
    return state.read(Folder(str(folder)), step).tensors


def assert_same(one, other, atol=0.0) -> None:
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        assert torch.allclose(tensor, other[name], rtol=0, atol=atol), name


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    outcome = trainer(folder).run()
    assert (outcome.step, outcome.stopped) == (60, None)
    return folder


def test_it_learns(undisturbed):
    validations = read_log(Folder(str(undisturbed)), VALIDATIONS)
    assert [line["step"] for line in validations] == [10, 20, 30, 40, 50, 60]
    assert validations[-1]["accuracy"] > 0.8
    assert losses(undisturbed)[-1] < 0.6 < losses(undisturbed)[0]


def test_a_step_is_that_of_plain_pytorch(tmp_path):
    """One step without dropout, against the same written out: whole batch, AdamW, clipping."""
    mine, plain = Toy(), Toy()
    for task in (mine, plain):
        task.module[2].p = 0.0
    made = trainer(tmp_path, mine, steps=1, clip=0.1)
    made.run()
    optimiser = torch.optim.AdamW(
        plain.module.parameters(), lr=made.plan.lr / 5, weight_decay=made.plan.weight_decay
    )
    plain.losses(plain.load(made.batches.rows(0), 0))["loss"].mean().backward()
    norm = nn.utils.clip_grad_norm_(plain.module.parameters(), 0.1)
    optimiser.step()
    assert made.lines[0]["grad_norm"] == pytest.approx(float(norm), rel=1e-5)
    for ours, theirs in zip(mine.module.parameters(), plain.module.parameters(), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-6)


def test_the_rate_rises_then_falls_along_a_cosine():
    settings = plan(steps=105, warmup=5, lr=1.0)
    rates = [learning_rate(settings, step) for step in range(105)]
    assert rates[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert rates[55] == pytest.approx(0.5)
    assert rates[104] == pytest.approx(0.5 * (1 - math.cos(math.pi / 100)), abs=1e-9)
    assert rates[5:] == sorted(rates[5:], reverse=True)


def records(data: bytes) -> Iterator[event_pb2.Event]:
    """Events of a file: each is its length (8 bytes), a checksum (4), itself, a checksum (4)."""
    while data:
        (length,) = struct.unpack("<Q", data[:8])
        yield event_pb2.Event.FromString(data[12 : 12 + length])
        data = data[16 + length :]


def scalars(folder) -> dict[str, dict[int, float]]:
    """What TensorBoard would show: step → value, by tag; AssertionError for a step told twice."""
    found: dict[str, dict[int, float]] = {}
    for file in sorted((folder / events.FOLDER).iterdir()):
        for event in records(file.read_bytes()):
            for value in event.summary.value:
                points = found.setdefault(value.tag, {})
                assert event.step not in points, (value.tag, event.step)
                points[event.step] = value.simple_value
    return found


def test_tensorboard_shows_the_logs(undisturbed):
    told = scalars(undisturbed)
    assert list(told["train/loss"]) == list(range(1, 61))
    assert list(told["train/loss"].values()) == pytest.approx(losses(undisturbed), rel=1e-6)
    validations = read_log(Folder(str(undisturbed)), VALIDATIONS)
    wanted = {line["step"]: pytest.approx(line["accuracy"]) for line in validations}
    assert told["validation/accuracy"] == wanted


def test_interrupted_at_any_step_it_goes_on_to_the_same_weights(undisturbed, tmp_path):
    for at in (3, 11, 20, 19):  # steps after each start; the last one is near the end

        class Interrupted(Toy):
            left = 4 * at

            def losses(self, batch):
                self.left -= 1
                if self.left < 0:
                    raise KeyboardInterrupt
                return super().losses(batch)

        with pytest.raises(KeyboardInterrupt):
            trainer(tmp_path, Interrupted()).run()
    outcome = trainer(tmp_path).run()
    assert outcome.step == 60
    assert_same(weights(tmp_path), weights(undisturbed))
    assert losses(tmp_path) == losses(undisturbed)
    assert scalars(tmp_path)["train/loss"] == scalars(undisturbed)["train/loss"]
    assert read_log(Folder(str(tmp_path)), VALIDATIONS) == read_log(
        Folder(str(undisturbed)), VALIDATIONS
    )


def test_killed_processes_go_on_to_the_same_weights(undisturbed, tmp_path):
    (process,) = processes.start(TOY, tmp_path, 60)
    wait_for(lambda: state.steps(Folder(str(tmp_path))), process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    (process,) = processes.start(TOY, tmp_path, 60, stdout=subprocess.PIPE)
    assert "Outcome(step=60" in process.communicate()[0]
    assert_same(weights(tmp_path), weights(undisturbed))


def test_more_workers_give_the_same_weights(undisturbed, tmp_path):
    """To the order in which floats are summed, dropout included."""
    workers = processes.start(TOY, tmp_path, 60, world=2)
    assert [worker.wait(timeout=120) for worker in workers] == [0, 0]
    assert_same(weights(tmp_path), weights(undisturbed), atol=2e-5)
    assert losses(tmp_path) == pytest.approx(losses(undisturbed), abs=1e-5)


def test_workers_may_come_and_go(undisturbed, tmp_path):
    workers = processes.start(TOY, tmp_path, 60, world=3)
    wait_for(lambda: state.steps(Folder(str(tmp_path))), *workers)
    for worker in workers:
        worker.kill()
        worker.wait()
    trainer(tmp_path).run()
    assert_same(weights(tmp_path), weights(undisturbed), atol=2e-5)


def test_a_loss_that_is_not_finite_stops_it_before_the_weights(tmp_path):
    class Poisoned(Toy):
        def losses(self, batch):
            numbers = super().losses(batch)
            seen = self.__dict__.setdefault("seen", [])
            seen.append(len(batch))
            if len(seen) > 4 * 20:
                numbers["loss"] = numbers["loss"] * float("nan")
            return numbers

    made = trainer(tmp_path, Poisoned())
    outcome = made.run()
    assert outcome.stopped == "the loss or its gradient is not finite at step 20"
    assert outcome.step == 20  # of a validation that was the best one, or a planned checkpoint
    assert all(torch.isfinite(p).all() for p in made.trained.values())
    assert len(losses(tmp_path)) == 20


def test_the_newest_and_the_best_checkpoint_are_kept(undisturbed):
    there = state.steps(Folder(str(undisturbed)))
    outcome = trainer(undisturbed).run()  # nothing left to do
    assert outcome.step == 60
    assert outcome.best in there
    assert there[-2:] == [56, 60]
    assert len(there) <= 3
    best = max(read_log(Folder(str(undisturbed)), VALIDATIONS), key=lambda line: line["accuracy"])
    assert best["step"] == outcome.best


def test_only_what_is_trained_is_kept(tmp_path):
    task = Toy()
    task.module[0].requires_grad_(False)
    before = task.module[0].weight.clone()
    trainer(tmp_path, task, steps=3).run()
    assert torch.equal(task.module[0].weight, before)
    assert not [name for name in weights(tmp_path, 3) if "/0." in name]
