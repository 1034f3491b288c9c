"""Damaged files of a run, set aside so that they count as missing and are made again."""

from collections.abc import Callable, Iterator

from raypipe.config.strict import JobConfig
from raypipe.console import message
from raypipe.storage.check import damaged_batches
from raypipe.storage.damage import DamagedError
from raypipe.storage.directory import RunDirectory

ASIDE = "damaged"
"""Folder below a run that keeps what was damaged, and that nothing reads."""


def mending(run: RunDirectory, config: JobConfig, work: Callable[[], None]) -> None:
    """Do a job's work; where it meets a damaged file of a batch, make all such again.

    DamagedError for a file that is another run's, that cannot be made again, or that is damaged
    again.
    """
    aside: set[str] = set()
    while True:
        try:
            return work()
        except DamagedError as found:
            folder = found.name.partition("/")[0]
            if found.uri != run.uri or folder not in run.made or found.name in aside:
                raise
            for damaged in _all(run, config, folder, found):
                set_aside(run, damaged)
                aside.add(damaged.name)


def set_aside(run: RunDirectory, damaged: DamagedError) -> None:
    """Move a damaged file to where nothing looks for it, and say so."""
    kept = run.folder.move(damaged.name, f"{ASIDE}/{damaged.name}")
    where = f" (kept as {ASIDE}/{damaged.name})" if kept else ""
    message(f"warning: {damaged}: it is made again{where}")


def _all(
    run: RunDirectory, config: JobConfig, folder: str, found: DamagedError
) -> Iterator[DamagedError]:
    """What is damaged in a folder, once it is known that something is."""
    yield found
    for damaged in damaged_batches(run, config, folder):
        if damaged.name != found.name:
            yield damaged
