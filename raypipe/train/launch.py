"""The only file that knows Ray Train: runs a training on workers that may come and go.

Ray Train starts the workers, joins them in a process group, and starts them anew when one is lost,
with as many as the cluster then has. What they know of the training they read from the run
directory (`raypipe.train.state`), so that a new driver goes on as a new worker does.
"""

import json
import threading
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from raypipe.errors import UserError
from raypipe.files import Folder, open_uri
from raypipe.settings import Actors
from raypipe.train.group import Group
from raypipe.train.loop import VALIDATIONS, Outcome, Task, Trainer, read_log
from raypipe.train.settings import Training

FAILURES = 16
"""Times that lost workers are replaced, beside those that a cloud announces to take back."""

LOOK_S = 5.0
"""Seconds between two looks at how far the training is."""

OUTCOME = "outcome.json"
SCRATCH = "ray"
"""Folder for what Ray Train writes itself."""


def launch(
    make: Callable[[str, str], Task],
    plan: Training,
    actors: Actors,
    uri: str,
    *,
    best: str,
    tell: Callable[[str], None],
) -> Outcome:
    """Train on a connected Ray, in the run directory `uri`, from its newest checkpoint on.

    make: (run directory, device) to the task, called on every worker; sent there, so it is small.
    best: the validation number that picks the best checkpoint. Raises UserError for a mistake that
    only a worker could see.
    """
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    folder = Folder(uri)
    folder.delete(OUTCOME)
    resources = {"CPU": actors.cpus_per_actor, "GPU": actors.gpus_per_actor}
    workers = actors.max if actors.min == actors.max else (actors.min, actors.max)
    settings = {"make": make, "plan": plan.model_dump(mode="json"), "uri": uri, "best": best}
    filesystem, scratch = open_uri(f"{uri}/{SCRATCH}")
    trainer = TorchTrainer(
        _work,
        train_loop_config=settings | {"threads": max(int(actors.cpus_per_actor), 1)},
        scaling_config=ScalingConfig(
            num_workers=workers,
            use_gpu=actors.gpus_per_actor > 0,
            resources_per_worker={kind: n for kind, n in resources.items() if n},
        ),
        run_config=RunConfig(
            storage_path=scratch,
            storage_filesystem=filesystem,
            failure_config=FailureConfig(max_failures=FAILURES),
        ),
        torch_config=TorchConfig(backend="nccl" if actors.gpus_per_actor else "gloo"),
    )
    try:
        with _Watch(folder, plan, tell):
            trainer.fit()
    finally:
        folder.delete_folder(SCRATCH)
    told = json.loads(folder.read(OUTCOME) or b"{}")
    if "mistake" in told:
        raise UserError(told["mistake"])
    return Outcome(**told)


def _work(settings: dict[str, Any]) -> None:
    """What a worker does."""
    import ray.train
    import ray.train.torch
    import torch

    torch.set_num_threads(settings["threads"])
    context = ray.train.get_context()
    group = Group(context.get_world_rank(), context.get_world_size())
    folder = Folder(settings["uri"])
    task, mistake = None, None
    try:
        task = settings["make"](settings["uri"], str(ray.train.torch.get_device()))
    except UserError as error:
        mistake = str(error)
    mistakes = [told for told in group.gather(mistake) if told]
    told: dict[str, Any] = {"mistake": mistakes[0]} if mistakes else {}
    if task is not None and not mistakes:
        plan = Training.model_validate(settings["plan"])
        trainer = Trainer(task, plan, folder, best=settings["best"], group=group)
        outcome = trainer.run()
        if outcome.stopped is None:
            task.finish(outcome, group, folder)
        told = asdict(outcome)
    if group.rank == 0:
        folder.write(OUTCOME, json.dumps(told).encode())


class _Watch:
    """Tells of each validation while its `with` block runs."""

    def __init__(self, folder: Folder, plan: Training, tell: Callable[[str], None]):
        self._folder, self._plan, self._tell = folder, plan, tell
        self._told = len(read_log(folder, VALIDATIONS))
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()
        self._tell_new()

    def _look(self) -> None:
        while not self._stop.wait(LOOK_S):
            self._tell_new()

    def _tell_new(self) -> None:
        lines = read_log(self._folder, VALIDATIONS)
        for line in lines[self._told :]:
            numbers = [f"{key} {value:.4g}" for key, value in line.items() if key != "step"]
            self._tell(f"step {line['step']:,}/{self._plan.steps:,}  {'  '.join(numbers)}")
        self._told = max(self._told, len(lines))
