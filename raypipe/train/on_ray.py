"""A training job's part on Ray: connects, trains, leaves; what went wrong becomes one line."""

from collections.abc import Callable

from raypipe.errors import UserError
from raypipe.settings import Actors
from raypipe.train.loop import Task
from raypipe.train.settings import Training


def train_on_ray(
    make: Callable[[str, str], Task],
    plan: Training,
    actors: Actors,
    uri: str,
    *,
    best: str,
    address: str | None,
    verbose: bool,
    tell: Callable[[str], None],
) -> None:
    """Train in the run directory `uri`; see `raypipe.train.launch`.

    UserError where the loss left the finite numbers, or for a mistake that only a worker sees.
    """
    import ray

    from raypipe.stages import cluster
    from raypipe.train.launch import launch

    for warning in cluster.connect(address, verbose, [[("train", actors)]]):
        tell(f"warning: {warning}")
    try:
        outcome = launch(make, plan, actors, uri, best=best, tell=tell)
    finally:
        ray.shutdown()
    if outcome.stopped is not None:
        raise UserError(
            f"{outcome.stopped}; the checkpoint of step {outcome.step} is kept in {uri}: "
            "a smaller training.lr in another output may help"
        )
