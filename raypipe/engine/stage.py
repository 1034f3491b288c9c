"""What a stage is: work on the samples of one batch, with its resources and its file.

A stage is a plain class: it names the columns that it reads and those that no later stage needs,
takes a frozen config, and maps a table of samples to a table of its new columns, row for row.
`raypipe.engine.chain` runs a chain of them over a cluster.

The unit of work is the batch that the plan fixed. It travels as one row of a Ray data set, so that
Ray can neither merge nor split batches, and each stage's output for a batch goes into a file that
is named after the batch. A batch that is made twice (a lost actor, a resume) is written to the same
name with the same rows: nothing can be lost or doubled.
"""

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol

import pyarrow as pa

from raypipe.config.sections import Actors

CALLS = 2
"""Calls of a stage that overlap in one actor."""

SECONDS = b"raypipe.device_seconds"
"""Key in a file's metadata: seconds that the batch held its actor's device; the first batch of an
actor also carries its loading time. Not a column, since a resumed run must hold the same
rows as an undisturbed one."""


class Device:
    """A lock around what a stage has one of (a model, a data set), which counts the time held.

    >>> device = Device()
    >>> with device:
    ...     pass
    >>> 0 <= device.taken() <= device.seconds < 1
    True
    >>> device.taken()
    0.0
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._since: float | None = None
        self._seconds = 0.0
        self._of_thread = threading.local()

    @property
    def seconds(self) -> float:
        """Seconds that it was held, up to now."""
        since = self._since
        return self._seconds + (time.monotonic() - since if since is not None else 0.0)

    def taken(self) -> float:
        """Seconds that the calling thread held it since it last asked: those of its one call."""
        seconds: float = getattr(self._of_thread, "seconds", 0.0)
        self._of_thread.seconds = 0.0
        return seconds

    def __enter__(self) -> None:
        self._lock.acquire()
        self._since = time.monotonic()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._since is not None
        held = time.monotonic() - self._since
        self._seconds, self._since = self._seconds + held, None
        self._of_thread.seconds = getattr(self._of_thread, "seconds", 0.0) + held
        self._lock.release()


def threads(pool: Actors) -> ThreadPoolExecutor:
    """Threads for what is done to each picture by itself, in an actor whose calls share them.

    As many as the actor has CPUs, and one for each call at least: an embedder on a GPU asks for one
    CPU, and waits for pictures to be decoded.
    """
    return ThreadPoolExecutor(max(CALLS, int(pool.cpus_per_actor)))


def start_on(pool: Actors) -> str:
    """Give torch the actor's CPUs as threads; returns the kind of device that the actor has."""
    import torch

    torch.set_num_threads(max(1, int(pool.cpus_per_actor)))
    return "cuda" if pool.gpus_per_actor else "cpu"


class Stage(Protocol):
    """Work on the samples of one batch.

    Two calls overlap in threads, so that pictures are encoded or decoded while the next batch is
    computed: a stage holds its device only while it needs it.
    """

    reads: tuple[str, ...]
    """Columns it needs."""
    drops: tuple[str, ...]
    """Columns that no later stage needs."""
    device: Device

    def __call__(self, batch: pa.Table) -> pa.Table:
        """New columns only, one row for each row of `batch`, in order."""
        ...


@dataclass(frozen=True)
class Step:
    """A stage with its resources and the file that keeps its output."""

    name: str
    make: Callable[[], Stage]
    """Makes the stage on the worker; small, since it is sent to every actor."""
    pool: Actors
    uri: str
    """Run directory."""
    file: str | None = None
    """Name below it, with {batch_id}; None to keep nothing."""
    keep: Callable[[pa.Table], pa.Table] | None = None
    """Chooses what the file holds, from all columns; None: all of them."""
    key: str = ""
    """Its pool's key under `pools`, where that is not its name."""
    unit: str = "images"
    """What its samples are, in the words of the progress display."""


@dataclass(frozen=True)
class Part:
    """Some neighbouring batches of the work, read on the cluster when their turn comes."""

    n_batches: int
    n_samples: int
    read: Callable[[], Iterable[pa.Table]]
    """Their samples, one table a batch, with the column `batch_id`; small, since it is sent."""


Chain = tuple[Sequence[Part], Sequence[Step]]
"""Parts of a plan, and the steps through which each of their batches goes."""


def units_of(chains: Sequence[Chain]) -> dict[str, str]:
    """What each step counts, by its name."""
    return {step.name: step.unit for _, steps in chains for step in steps}


def pack(batch_id: str, samples: pa.Table) -> pa.Table:
    """One row that holds a whole batch."""
    structs = samples.combine_chunks().to_struct_array().combine_chunks()
    offsets = pa.array([0, len(samples)], pa.int32())
    nested = pa.ListArray.from_arrays(offsets, structs)
    return pa.table({"batch_id": [batch_id], "samples": nested})


def unpack(row: pa.Table) -> pa.Table:
    """The samples of a batch."""
    return pa.Table.from_struct_array(row["samples"].combine_chunks().flatten())


def check_output(step: str, samples: pa.Table, new: pa.Table) -> None:
    """Check a stage's contract: one new row for each row, and no column replaced."""
    if len(new) != len(samples):
        raise ValueError(f"stage {step} must keep its {len(samples)} rows, made {len(new)}")
    twice = set(new.column_names) & set(samples.column_names)
    if twice:
        raise ValueError(f"stage {step} must add columns, not replace {sorted(twice)}")
