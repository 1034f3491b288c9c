"""The only file that knows Ray Data: sends the batches of a plan through a chain of stages."""

import contextlib
import os
import threading
import time
import uuid
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

import pyarrow as pa
import ray
from ray.data import Datasource
from ray.data._internal.execution.execution_callback import ExecutionCallback
from ray.data.block import BlockMetadata
from ray.data.datasource import ReadTask

from raypipe.console.leave import refusal
from raypipe.engine import log
from raypipe.engine.batch import finish_batch
from raypipe.engine.monitor import BEAT_S
from raypipe.engine.stage import CALLS, Part, Step, pack, unpack
from raypipe.errors import UserError
from raypipe.storage import claims

TRIES = 3
"""Times that a worker tries a batch whose stage raised something unexpected."""

MAX_ATTEMPTS = 8
"""Times that a batch is started, by any worker: one that kills its worker would never end."""

PATIENCE_S = 120.0
"""How long the source waits for a batch to be finished before it lets another one through."""


class Worker:
    """One actor of a step's pool."""

    def __init__(self, step: Step, is_last: bool, monitor: Any):
        log.to_stderr()
        self._step = step
        self._is_last = is_last
        self._monitor = monitor
        started = time.monotonic()
        with self._reporting_mistakes():
            self._stage = step.make()
        self._loading_s = time.monotonic() - started
        self._name = uuid.uuid4().hex[:8]
        threading.Thread(target=self._beat, daemon=True).start()
        node = ray.get_runtime_context().get_node_id()
        log.event("worker_started", step=step.name, worker=self._name, node=node)

    def __call__(self, row: pa.Table) -> pa.Table:
        batch_id = row["batch_id"][0].as_py()
        step = self._step
        attempt = ray.get(self._monitor.begin.remote(step.name, batch_id))
        if attempt > MAX_ATTEMPTS:
            raise RuntimeError(
                f"batch {batch_id} of step {step.name} was not finished in {MAX_ATTEMPTS} attempts:"
                " it seems to kill its workers, whose logs may show why"
            )
        samples = unpack(row)
        with self._reporting_mistakes():
            new = self._try(batch_id, samples)
        loading_s, self._loading_s = (
            (self._loading_s, 0.0) if step.file is not None else (0.0, self._loading_s)
        )
        with self._reporting_mistakes():
            samples, failed = finish_batch(step, self._stage, batch_id, samples, new, loading_s)
        self._monitor.add.remote(step.name, batch_id, len(samples), failed)
        if self._is_last:
            return pa.table({"batch_id": [batch_id]})
        return pack(batch_id, samples.drop_columns(list(self._stage.drops)))

    def _try(self, batch_id: str, samples: pa.Table) -> pa.Table:
        """Call the stage; an unexpected error may be transient, and is retried."""
        for left in reversed(range(TRIES)):
            try:
                return self._stage(samples.select(self._stage.reads))
            except UserError:
                raise
            except Exception as error:
                step, ids = self._step.name, samples.column(0).to_pylist()
                log.event("failed", step=step, batch_id=batch_id, samples=ids, error=repr(error))
                if _has_lost_its_device(error):
                    os._exit(1)  # no later call could succeed in this process: Ray starts another
                if not left:
                    raise
                time.sleep(TRIES - left)
        raise AssertionError("unreachable")

    def _beat(self) -> None:
        while True:
            self._monitor.beat.remote(self._name, self._step.name, self._stage.device.seconds)
            time.sleep(BEAT_S)

    @contextlib.contextmanager
    def _reporting_mistakes(self) -> Iterator[None]:
        """Report what the user must mend to the driver, which cannot see it inside Ray's error."""
        try:
            yield
        except (UserError, OSError) as error:
            line = refusal(error) if isinstance(error, OSError) else None
            mistake = error if isinstance(error, UserError) else line and UserError(line)
            if mistake:
                ray.get(self._monitor.refuse.remote(mistake))
            raise


def run_chain(parts: list[Part], steps: list[Step], monitor: Any) -> None:
    """Send every batch through all steps, which overlap. UserError if a worker raised one.

    Every block holds one batch. At most a few batches for each actor are under way at a time,
    whatever the number of samples, so that neither the driver nor the object store fills up.
    """
    context = ray.data.DataContext.get_current()
    context.target_max_block_size = 1  # bytes: a row, which is a batch, is never joined to others
    context.print_on_execution_start = False
    context.custom_execution_callback_classes = [_ForgetStatistics]
    window = sum(2 * (CALLS + 1) * step.pool.max for step in steps) + 8
    dataset = ray.data.read_datasource(
        _Source(parts, steps[-1].name, window, monitor),
        concurrency=1,  # the order of the plan: each actor meets each model once
        override_num_blocks=len(parts),
        num_cpus=0,  # actors may hold every CPU there is
    )
    for step in steps:
        dataset = dataset.map_batches(
            Worker,
            fn_constructor_args=(step, step is steps[-1], monitor),
            batch_size=1,
            batch_format="pyarrow",
            zero_copy_batch=True,
            num_cpus=step.pool.cpus_per_actor,
            num_gpus=step.pool.gpus_per_actor or None,
            compute=ray.data.ActorPoolStrategy(
                min_size=step.pool.min,
                max_size=step.pool.max,
                max_concurrent_calls_per_actor=CALLS,
                enable_true_multi_threading=True,
            ),
        )
    try:
        for _ in dataset.iter_batches(batch_size=None, batch_format="pyarrow"):
            claims.go_on(steps[0].uri)
    except ray.exceptions.RayError:
        mistake = ray.get(monitor.mistake.remote())
        if mistake is not None:
            raise mistake from None
        raise


class _ForgetStatistics(ExecutionCallback):
    """Drops the five kilobytes of statistics that Ray Data keeps for every finished batch.

    They are for a summary that raypipe does not use; 10⁵ batches have half a gigabyte of them.
    """

    def on_execution_step(self, executor: Any) -> None:
        for operator in executor._topology or ():
            kept = getattr(operator, "_output_blocks_stats", None)
            if kept:
                kept.clear()


class _Source(Datasource):
    """Reads the parts one after the other, each when there is room for its batches."""

    def __init__(self, parts: list[Part], last_step: str, window: int, monitor: Any):
        super().__init__()
        self._parts, self._last_step, self._window = parts, last_step, window
        self._monitor = monitor
        self._before = ray.get(monitor.finished.remote(last_step))

    def get_read_tasks(self, parallelism: int, *_: Any, **__: Any) -> list[ReadTask]:
        tasks, first = [], self._before
        for part in self._parts:
            read = partial(_emit, part, first, self._last_step, self._window, self._monitor)
            metadata = BlockMetadata(
                num_rows=part.n_batches, size_bytes=None, input_files=None, exec_stats=None
            )
            tasks.append(ReadTask(read, metadata))
            first += part.n_batches
        return tasks

    def estimate_inmemory_data_size(self) -> int | None:
        return None


def _emit(part: Part, first: int, last_step: str, window: int, monitor: Any) -> Iterable[pa.Table]:
    """A part's batches as blocks, never more than `window` of them ahead of the last step."""
    finished = 0
    for index, samples in enumerate(part.read(), first):
        asked = time.monotonic()
        while index - finished >= window and time.monotonic() - asked < PATIENCE_S:
            finished = ray.get(monitor.finished.remote(last_step))
            if index - finished >= window:
                time.sleep(0.1)
        yield pack(samples["batch_id"][0].as_py(), samples)


def _has_lost_its_device(error: Exception) -> bool:
    """Whether CUDA failed in a way that poisons the process (all but running out of memory)."""
    return type(error).__name__ == "AcceleratorError" or "CUDA error" in str(error)
