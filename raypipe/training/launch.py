"""The only file that knows Ray Train: runs a training on workers that may come and go.

Ray Train starts the workers, joins them in a process group, and starts them again when one is lost,
with as many as the cluster then has. They read the state of the training from the run directory
(`raypipe.training.state`), so a new driver resumes as a new worker does.
"""

import json
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from raypipe.config.sections import Actors
from raypipe.config.training import Training
from raypipe.errors import UserError
from raypipe.storage.files import Folder, open_uri
from raypipe.training.group import Group
from raypipe.training.loop import Outcome, Task, train

FAILURES = 16
"""Times that lost workers are replaced, besides preemptions that a cloud announces."""

OUTCOME = "outcome.json"
SCRATCH = "ray"
"""Folder for what Ray Train writes itself."""


def launch(
    make: Callable[[str, str], Task], plan: Training, actors: Actors, uri: str, *, best: str
) -> Outcome:
    """Train on a connected Ray, in the run directory `uri`, from its newest checkpoint on.

    make: (run directory, device) to the task, called on every worker; sent there, so it is small.
    best: the validation number that picks the best checkpoint. Raises UserError for a mistake
    found on a worker.
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
        trainer.fit()
    finally:
        folder.delete_folder(SCRATCH)
    record = json.loads(folder.read(OUTCOME) or b"{}")
    if "mistake" in record:
        raise UserError(record["mistake"])
    return Outcome(**record)


def _work(settings: dict[str, Any]) -> None:
    """The training function of a worker."""
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
    mistakes = [text for text in group.gather(mistake) if text]
    record: dict[str, Any] = {"mistake": mistakes[0]} if mistakes else {}
    if task is not None and not mistakes:
        plan = Training.model_validate(settings["plan"])
        record = asdict(train(task, plan, folder, settings["best"], group))
    if group.rank == 0:
        folder.write(OUTCOME, json.dumps(record).encode())
