"""The only file that knows Ray Data.

A stage is a plain class: it names the columns that it reads and those that nothing needs after it,
takes a frozen config, and maps a table of samples to a table of its new columns, row for row. This
file runs a chain of stages over a cluster.

The unit of work is the batch that the plan fixed. It travels as one row of a Ray data set, so that
Ray can neither merge nor split batches, and each stage's output for a batch goes into a file that
is named after the batch. A batch that is made twice (a lost actor, a resume) is written to the same
name with the same rows: nothing can be lost or doubled.
"""

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import pyarrow as pa

from raypipe.errors import UserError
from raypipe.files import Folder
from raypipe.run import write_table
from raypipe.settings import Pool

SECONDS = b"raypipe.seconds"
"""Key in a file's metadata: seconds that an actor spent on the batch. No column, since a run that
was resumed must hold the same rows as one that was not."""


class Stage(Protocol):
    """Work on the samples of one batch.

    Two calls overlap in threads, so that pictures are encoded or decoded while the next batch is
    computed: a stage takes a lock around its model.
    """

    reads: tuple[str, ...]
    """Columns it needs."""
    drops: tuple[str, ...]
    """Columns that nothing needs after it."""

    def __call__(self, batch: pa.Table) -> pa.Table:
        """New columns only, one row for each row of `batch`, in order."""
        ...


@dataclass(frozen=True)
class Step:
    """A stage with its resources and the file that keeps its output."""

    name: str
    make: Callable[[], Stage]
    """Makes the stage on the worker; small, since it is sent to every actor."""
    pool: Pool
    uri: str
    """Run directory."""
    file: str
    """Name below it, with {batch_id}; or "" to keep nothing."""
    keep: Callable[[pa.Table], pa.Table]
    """Chooses what the file holds, from all columns."""


class Worker:
    """One actor of a step's pool."""

    def __init__(self, step: Step, is_last: bool, progress: Any):
        import torch

        torch.set_num_threads(max(1, int(step.pool.cpus_per_actor)))
        self._step = step
        self._is_last = is_last
        self._progress = progress
        with self._telling():
            self._stage = step.make()

    def __call__(self, row: pa.Table) -> pa.Table:
        started = time.monotonic()
        batch_id = row["batch_id"][0].as_py()
        samples = unpack(row)
        with self._telling():
            new = self._stage(samples.select(self._stage.reads))
        _check(self._step.name, samples, new)
        for column in new.column_names:
            samples = samples.append_column(new.schema.field(column), new[column])
        if self._step.file:
            name = self._step.file.format(batch_id=batch_id)
            seconds = f"{time.monotonic() - started:.3f}"
            kept = self._step.keep(samples).replace_schema_metadata({SECONDS: seconds})
            write_table(Folder(self._step.uri), name, kept)
        self._progress.add.remote(self._step.name, batch_id, len(samples))
        if self._is_last:
            return pa.table({"batch_id": [batch_id]})
        return pack(batch_id, samples.drop_columns(list(self._stage.drops)))

    @contextlib.contextmanager
    def _telling(self) -> Iterator[None]:
        """Tell the driver of a user's mistake, which it would not recognise inside Ray's error."""
        try:
            yield
        except UserError as error:
            import ray

            ray.get(self._progress.refuse.remote(str(error)))
            raise


class Progress:
    """What the driver hears from its workers while they work.

    Finished samples per step (a batch once), and a user's mistake: Ray does not carry the original
    exception through its own.
    """

    def __init__(self) -> None:
        self._done: dict[str, dict[str, int]] = {}
        self._mistake: str | None = None

    def refuse(self, mistake: str) -> None:
        """Note a UserError's message."""
        self._mistake = self._mistake or mistake

    def mistake(self) -> str | None:
        """The first UserError's message."""
        return self._mistake

    def add(self, step: str, batch_id: str, n: int) -> None:
        """Note that a step has finished a batch of `n` samples."""
        self._done.setdefault(step, {})[batch_id] = n

    def counts(self) -> dict[str, int]:
        """Samples done, per step."""
        return {step: sum(batches.values()) for step, batches in self._done.items()}


def pack(batch_id: str, samples: pa.Table) -> pa.Table:
    """One row that holds a whole batch."""
    structs = samples.combine_chunks().to_struct_array().combine_chunks()
    offsets = pa.array([0, len(samples)], pa.int32())
    nested = pa.ListArray.from_arrays(offsets, structs)
    return pa.table({"batch_id": [batch_id], "samples": nested})


def unpack(row: pa.Table) -> pa.Table:
    """The samples of a batch."""
    return pa.Table.from_struct_array(row["samples"].combine_chunks().flatten())


def run_chain(batches: dict[str, pa.Table], steps: list[Step], progress: Any) -> None:
    """Send every batch through all steps, which overlap. UserError if a worker raised one."""
    import ray

    rows = [pack(batch_id, samples) for batch_id, samples in batches.items()]
    dataset = ray.data.from_arrow(rows)
    for step in steps:
        dataset = dataset.map_batches(
            Worker,
            fn_constructor_args=(step, step is steps[-1], progress),
            batch_size=1,
            batch_format="pyarrow",
            zero_copy_batch=True,
            num_cpus=step.pool.cpus_per_actor,
            num_gpus=step.pool.gpus_per_actor or None,
            compute=ray.data.ActorPoolStrategy(
                min_size=step.pool.min,
                max_size=step.pool.max,
                max_concurrent_calls_per_actor=2,
                enable_true_multi_threading=True,
            ),
        )
    try:
        for _ in dataset.iter_batches(batch_size=None, batch_format="pyarrow"):
            pass
    except ray.exceptions.RayError:
        mistake = ray.get(progress.mistake.remote())
        if mistake is not None:
            raise UserError(mistake) from None
        raise


def start_ray(address: str | None, verbose: bool, pools: list[Pool]) -> None:
    """Connect to a cluster, or start a local Ray with room for the pools' smallest size."""
    if not verbose:
        os.environ.setdefault("RAY_DATA_LOG_LEVEL", "ERROR")
        os.environ.setdefault("RAY_DATA_DISABLE_PROGRESS_BARS", "1")
        os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    import ray

    arguments = {"logging_level": "INFO" if verbose else "ERROR", "log_to_driver": verbose}
    address = address or os.environ.get("RAY_ADDRESS")
    if address:
        arguments["address"] = address
    else:
        needed = sum(pool.min * pool.cpus_per_actor for pool in pools)
        arguments["num_cpus"] = max(os.cpu_count() or 1, int(needed) + 1)
        arguments["include_dashboard"] = False
    try:
        with contextlib.nullcontext() if verbose else _silent_stderr():
            ray.init(**arguments)
    except ConnectionError as error:
        raise UserError(f"no Ray cluster answers at {address}: {error}") from None


@contextlib.contextmanager
def _silent_stderr() -> Iterator[None]:
    """Ray's C++ core announces its log level on stderr, past Python; errors come as exceptions."""
    sys.stderr.flush()
    kept, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nothing, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nothing)


def _check(step: str, samples: pa.Table, new: pa.Table) -> None:
    """A stage's promise: one new row for each row, and no column of another stage touched."""
    if len(new) != len(samples):
        raise ValueError(f"stage {step} must keep its {len(samples)} rows, made {len(new)}")
    twice = set(new.column_names) & set(samples.column_names)
    if twice:
        raise ValueError(f"stage {step} must add columns, not replace {sorted(twice)}")
