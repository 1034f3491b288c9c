"""A training from its newest checkpoint to its end, on Ray or in this process."""

from collections.abc import Callable

from raypipe.config.sections import Actors
from raypipe.config.training import Training
from raypipe.console import message
from raypipe.engine.every import Every
from raypipe.engine.session import Session
from raypipe.errors import UserError
from raypipe.storage.files import Folder
from raypipe.training.group import Group
from raypipe.training.loop import VALIDATIONS, Task, read_log, train

LOOK_S = 5.0
"""Seconds between two reads of the training's log."""


def run_training(
    make: Callable[[str, str], Task],
    plan: Training,
    actors: Actors,
    uri: str,
    *,
    best: str,
    session: Session,
) -> None:
    """Train in the run directory `uri`.

    make: (run directory, device) to the task; sent to every worker, so it is small. best: the
    validation number that picks the best checkpoint. UserError where the loss is no longer
    finite, or for a mistake found on a worker.
    """
    folder = Folder(uri)
    with _Progress(folder, plan):
        if session.local:
            device = "cuda" if actors.gpus_per_actor else "cpu"
            outcome = train(make(uri, device), plan, folder, best, Group(0, 1))
        else:
            from raypipe.engine import cluster
            from raypipe.training.launch import launch

            for warning in cluster.connect(session, [[("train", actors)]]):
                message(f"warning: {warning}")
            try:
                outcome = launch(make, plan, actors, uri, best=best)
            finally:
                cluster.disconnect()
    if outcome.stopped is not None:
        raise UserError(
            f"{outcome.stopped}; the checkpoint of step {outcome.step} is kept in {uri}: "
            "a smaller training.lr in another output may help"
        )


class _Progress(Every):
    """Prints each validation while its `with` block runs."""

    def __init__(self, folder: Folder, plan: Training):
        self._folder, self._plan = folder, plan
        self._shown = len(read_log(folder, VALIDATIONS))
        super().__init__(LOOK_S, self._show_new)

    def _show_new(self) -> None:
        lines = read_log(self._folder, VALIDATIONS)
        for line in lines[self._shown :]:
            numbers = [f"{key} {value:.4g}" for key, value in line.items() if key != "step"]
            message(f"step {line['step']:,}/{self._plan.steps:,}  {'  '.join(numbers)}")
        self._shown = max(self._shown, len(lines))
